/**
 * Calls that only the node that leads group 0 can answer, as it alone knows how long leases
 * have left. Any other node passes them on, one hop, until somebody answers or the time is
 * over: to do such a call twice does no harm.
 */
import { sleep, type Clock } from '@holdfast/client/clock';
import type { HoldfastError } from '@holdfast/client/error';
import type { CallOptions, Transport } from '@holdfast/client/transport';
import { asHoldfastError } from '@holdfast/client/unary';
import type { GroupHost } from '../raft/group-host.ts';
import { COORDINATION_GROUP, type Member } from '../raft/members.ts';
import { isNotLed } from '../raft/propose.ts';
import type { GroupPlace, GroupRoutes } from './group-routes.ts';
import { UnledWitnesses } from './unled-witnesses.ts';

const POLL_MS = 50;
/** Longest that one node is waited for. */
const ATTEMPT_MS = 1_000;
/** Time that is kept for the answer that nobody could do it: a tenth of what is left, at most this. */
const ANSWER_MS = 100;
/** Leaders followed without a pause; nodes may name each other. */
const FOLLOWED_HINTS = 2;

/** Who calls, and until when. */
export interface LeaderCaller {
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** It is told who leads, and asks there itself. */
  readonly isRouted: boolean;
}

export interface LeaderCallsOptions {
  readonly host: GroupHost;
  readonly clock: Clock;
  /** How the others are reached; undefined: there are none. */
  readonly transport: Transport | undefined;
  readonly routes: GroupRoutes;
  /** Who group 0 began with. */
  readonly founders: readonly number[];
}

/** Makes the call of another node. */
export type CallOfLeader<T> = (transport: Transport, address: string, options: CallOptions) => Promise<T>;

export class LeaderCalls {
  readonly #options: LeaderCallsOptions;
  readonly #place: GroupPlace;

  constructor(options: LeaderCallsOptions) {
    this.#options = options;
    this.#place = { group: COORDINATION_GROUP, replicas: options.founders, isGone: false };
  }

  /** Does a call `here`, if this node leads; otherwise `there`. Errors: NOT_LEADER, NO_LEADER, those of the call. */
  async run<T>(caller: LeaderCaller, here: () => Promise<T>, there: CallOfLeader<T>): Promise<T> {
    const { host, clock, routes } = this.#options;
    const keptMs = Math.min(ANSWER_MS, (caller.deadlineMs - clock.monotonicMs()) / 10);
    const untilMs = caller.deadlineMs - keptMs;
    const witnesses = new UnledWitnesses();
    for (let followed = 0; ;) {
      const member = host.isLeader(COORDINATION_GROUP) ? undefined : this.#target(caller, witnesses);
      try {
        return await (member === undefined ? here() : this.#ask(member, untilMs, caller.signal, there));
      } catch (caught) {
        const error = asHoldfastError(caught);
        if (caller.isRouted || !mayGoOn(error) || clock.monotonicMs() + POLL_MS >= untilMs) throw error;
        if (member !== undefined) witnesses.note(member, error);
        if (member !== undefined && !isNotLed(error)) routes.failed(member);
        const isNews = isNotLed(error) && routes.refused(this.#place, error.leader);
        if (isNews && followed++ < FOLLOWED_HINTS) continue;
      }
      await sleep(clock, POLL_MS, caller.signal);
    }
  }

  /** Whom to ask. Error: nobody is left to. */
  #target({ isRouted }: LeaderCaller, witnesses: UnledWitnesses): Member {
    const { routes, transport } = this.#options;
    const target =
      isRouted || transport === undefined ? undefined : routes.next(this.#place, witnesses.asked);
    if (target !== undefined) return target.member;
    const error = witnesses.error(routes.notLed(this.#place));
    witnesses.forget();
    throw error.withOutcome(undefined);
  }

  async #ask<T>(member: Member, untilMs: number, signal: AbortSignal, call: CallOfLeader<T>): Promise<T> {
    const { clock, transport, routes } = this.#options;
    const leftMs = untilMs - clock.monotonicMs();
    const timeoutMs = Math.max(1, Math.min(ATTEMPT_MS, leftMs));
    const answer = await call(transport!, member.address, { timeoutMs, signal });
    routes.leads(this.#place, member);
    return answer;
  }
}

function mayGoOn({ code }: HoldfastError): boolean {
  return code === 'UNAVAILABLE' || code === 'DEADLINE_EXCEEDED';
}
