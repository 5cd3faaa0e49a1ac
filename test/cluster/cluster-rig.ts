/** A node among others that a test answers for: its replica and its transport are the test's. */
import { create, type Message } from '@bufbuild/protobuf';
import { HoldfastError } from '../../client/error.ts';
import { errorToMessage } from '../../client/error-mapping.ts';
import type { Transport } from '../../client/transport.ts';
import {
  ProposeResponseSchema,
  type ProposeRequest,
  type ProposeResponse,
} from '@holdfast/proto/raft/v1/forward';
import { Forwarder, type ForwardedCommand } from '../../node/cluster/forwarder.ts';
import { GroupRoutes, type GroupPlace } from '../../node/cluster/group-routes.ts';
import { RemoteReads } from '../../node/cluster/remote-reads.ts';
import type { GroupHost } from '../../node/raft/group-host.ts';
import type { Member } from '../../node/raft/members.ts';
import type { Proposal, UnledGroup } from '../../node/raft/state-machine.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';

/** A call that another node has not answered yet. */
export interface MadeCall {
  readonly to: string;
  readonly request: Message;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  answer(response: Message): void;
  fail(error: HoldfastError): void;
}

export const MEMBERS: readonly Member[] = [1, 2, 3, 4].map((id) => ({
  id,
  name: `n${id}`,
  address: `n${id}:1`,
}));

export class ClusterRig {
  readonly world = new SimulatedScheduler();
  readonly clock = new SimulatedClock(this.world);
  readonly place = { group: 7, replicas: [2, 3, 1], isGone: false };
  readonly calls: MadeCall[] = [];
  /** What the replica here was given. */
  readonly proposed: Proposal[] = [];
  /** How commands ended, in order. */
  readonly ends: string[] = [];
  readonly observed: string[] = [];
  /** What the replica here knows; undefined: there is none. */
  replica: { leader: number | undefined } | undefined = undefined;
  /** What the replica here knows when nobody has led for long. */
  unled: UnledGroup | undefined = undefined;
  readonly forwarder: Forwarder;
  readonly reads: RemoteReads;
  readonly routes: GroupRoutes;

  constructor(queueBytes = 1_000_000) {
    const host = {
      members: MEMBERS,
      self: 1,
      failure: undefined,
      replica: () => this.replica,
      isLeader: () => this.replica?.leader === 1,
      leaderOf: () => MEMBERS.find(({ id }) => id === this.replica?.leader),
      notLed: () => ({ leader: MEMBERS.find(({ id }) => id === this.replica?.leader), unled: this.unled }),
      propose: (_: number, proposal: Proposal) => this.proposed.push(proposal),
    } as unknown as GroupHost;
    const { clock } = this;
    this.routes = new GroupRoutes(host, clock);
    const transport = this.#transport();
    const observe = (operation: string, result: string) => this.observed.push(`${operation} ${result}`);
    const carrier = { clock, transport, clusterId: 'c1', routes: this.routes, observe };
    this.forwarder = new Forwarder({ ...carrier, host, admission: () => undefined, queueBytes });
    this.reads = new RemoteReads(carrier);
  }

  /** Proposes a command of so many bytes, whose end is noted under its name. */
  propose(name: string, bytes = 10, timeoutMs = 5_000, place: GroupPlace = this.place): void {
    const command: ForwardedCommand = {
      kind: 1,
      version: 1,
      bytes: Buffer.alloc(bytes, name),
      deadlineMs: this.clock.monotonicMs() + timeoutMs,
      grows: true,
      onApplied: (result) => this.ends.push(`${name} ${String(result)}`),
      decodeResult: (encoded) => Buffer.from(encoded).toString(),
      onError: ({ reason, outcome }) => this.ends.push(`${name} ${reason} ${outcome}`),
    };
    this.forwarder.propose(place, command);
  }

  /** Lets virtual time pass. */
  run(ms = 1): Promise<void> {
    return this.world.runFor(ms);
  }

  /** The next call that was made, with what it carries. */
  async next(withinMs = 60): Promise<MadeCall> {
    await this.world.runUntilTrue(() => this.calls.length > 0, withinMs);
    return this.calls.shift()!;
  }

  #transport(): Transport {
    const unary = (to: string, _: unknown, request: Message, { timeoutMs, signal }: never) =>
      new Promise((resolve, reject) => {
        this.calls.push({ to, request, timeoutMs, signal, answer: resolve, fail: reject });
      });
    return { unary, close: () => undefined } as unknown as Transport;
  }
}

/** First letters of the commands of a call. */
export function commandsOf({ request }: MadeCall): string {
  return (request as ProposeRequest).commands.map(({ payload }) => String.fromCharCode(payload[0]!)).join('');
}

/** An answer: for each command its result, or an error. */
export function results(...given: (string | HoldfastError)[]): ProposeResponse {
  return create(ProposeResponseSchema, {
    results: given.map((each) => ({
      result:
        typeof each === 'string'
          ? { case: 'outcome' as const, value: Buffer.from(each) }
          : { case: 'error' as const, value: errorToMessage(each) },
    })),
  });
}

export function notLeader(leader?: string): HoldfastError {
  return new HoldfastError({ reason: 'NOT_LEADER', message: 'not here', outcome: 'NOT_APPLIED', leader });
}

/** The answer of a node in a minority. */
export function noLeader(): HoldfastError {
  return new HoldfastError({ reason: 'NO_LEADER', message: 'nobody leads', outcome: 'NOT_APPLIED' });
}

export function unreachable(outcome?: 'NOT_APPLIED'): HoldfastError {
  return new HoldfastError({ reason: 'UNAVAILABLE', message: 'gone', outcome });
}
