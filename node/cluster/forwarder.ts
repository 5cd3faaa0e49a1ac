/**
 * Has commands proposed wherever their group is led, for callers that ask any node: here, or
 * on another node. What comes for one group in a turn of the event loop goes in one call, and
 * the next call gathers while that one is under way.
 *
 *  1. Commands of a group enter its log in the order in which they came, except for those
 *     that end in an error.
 *  2. A command is sent again only if it is certain that it was not proposed before.
 *  3. What waits here is bounded in bytes; what does not fit is refused at once.
 *  4. A command that nobody has taken is given up before its deadline, so that its caller
 *     still hears that nothing was written.
 */
import { create } from '@bufbuild/protobuf';
import { sleep, type Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import { asHoldfastError } from '@holdfast/client/unary';
import { errorFromMessage } from '@holdfast/client/error-mapping';
import type { Transport } from '@holdfast/client/transport';
import {
  ForwardService,
  ProposeRequestSchema,
  type CommandResult,
  type ProposeResponse,
} from '@holdfast/proto/raft/v1/forward';
import { commandBytes, type Command } from '../raft/entry.ts';
import type { GroupHost } from '../raft/group-host.ts';
import type { Member } from '../raft/members.ts';
import { proposalError } from '../raft/propose.ts';
import type { Proposal, ProposalFailure } from '../raft/state-machine.ts';
import type { Admission } from './admission.ts';
import type { GroupPlace, GroupRoutes } from './group-routes.ts';
import { UnledWitnesses } from './unled-witnesses.ts';

/** Commands of one call. */
const BATCH_COMMANDS = 4_096;
/** Their bytes, unless one alone is larger. */
const BATCH_BYTES = 4 * 1024 * 1024;
/** Between two attempts to find a leader. */
const POLL_MS = 50;
/** Longest that a call stands in the way of those behind it; then its outcome is unknown. */
const ATTEMPT_MS = 5_000;
/** Between two looks whether another node leads than the one that was asked. */
const LOOK_MS = 250;
/** Leaders followed in a row without a pause; nodes may name each other. */
const FOLLOWED_HINTS = 2;
/** Longest time that a command may have left. */
const MAX_TIMEOUT_MS = 300_000;
/** Time that is kept for the answer, if there is as much: a tenth of what is left, at most this. */
const ANSWER_MS = 100;

/** A command on its way to whoever leads. Exactly one of the callbacks is called, once. */
export interface ForwardedCommand extends Command {
  /** Monotonic time after which it is no longer proposed. */
  readonly deadlineMs: number;
  /** Whether it adds data. */
  readonly grows: boolean;
  /** It was applied; `result` is the state machine's. */
  onApplied(result: unknown): void;
  /** The result that the state machine has encoded elsewhere. Error: RangeError. */
  decodeResult(bytes: Uint8Array): unknown;
  onError(error: HoldfastError): void;
}

/** Counts commands and reads that other nodes did, by the reason of their error or `OK`. */
export type ObserveForwarded = (operation: 'write' | 'read' | 'scan', result: string, count: number) => void;

export interface ForwarderOptions {
  readonly host: GroupHost;
  readonly clock: Clock;
  readonly transport: Transport;
  /** What other nodes are to belong to as well. */
  readonly clusterId: string;
  readonly routes: GroupRoutes;
  readonly admission: Admission;
  /** Bound on the bytes of commands that wait. */
  readonly queueBytes: number;
  readonly observe?: ObserveForwarded | undefined;
}

/** A command that waits, or is under way. */
interface Pending {
  readonly command: ForwardedCommand;
  /** Counts up. */
  readonly order: number;
  readonly giveUpMs: number;
}

/** The commands of one group. */
interface Lane {
  readonly place: GroupPlace;
  /** By order. */
  readonly waiting: Pending[];
  /** Leaders that were followed since somebody took a command. */
  followed: number;
  /** Who has said that nobody leads the group; of the others, one may know more. */
  readonly witnesses: UnledWitnesses;
}

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #lanes = new Map<number, Lane>();
  readonly #stopping = new AbortController();
  #order = 0;
  #queuedBytes = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /** Bytes of commands that wait for another node. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Takes a command of a group. */
  propose(place: GroupPlace, command: ForwardedCommand): void {
    const nowMs = this.#options.clock.monotonicMs();
    const keptMs = Math.min(ANSWER_MS, (command.deadlineMs - nowMs) / 10);
    const pending = { command, order: ++this.#order, giveUpMs: command.deadlineMs - keptMs };
    if (this.#isServedHere(place) && !this.#lanes.has(place.group)) this.#proposeHere(place, pending);
    else this.#enqueue(place, pending);
  }

  /** Gives up what waits; what is under way ends with outcome unknown. */
  stop(): void {
    this.#stopping.abort();
    for (const { waiting } of this.#lanes.values())
      for (const pending of waiting.splice(0))
        this.#fail(pending, { cause: 'stopped', outcome: 'NOT_APPLIED' });
    this.#options.transport.close();
  }

  /** A node that must not go on says why itself. */
  #isServedHere({ group }: GroupPlace): boolean {
    const { host } = this.#options;
    return host.isLeader(group) || host.failure !== undefined;
  }

  #proposeHere(place: GroupPlace, pending: Pending): void {
    const { host, admission } = this.#options;
    const { command } = pending;
    const refusal = admission(command.bytes.byteLength, command.grows);
    if (refusal === undefined) host.propose(place.group, new OwnProposal(this, place, pending));
    else command.onError(refusal);
  }

  /** The replica here does not lead any more, and has not proposed it. */
  takeBack(place: GroupPlace, pending: Pending): void {
    this.#enqueue(place, pending);
  }

  /** Invariant 3. */
  #enqueue(place: GroupPlace, pending: Pending): void {
    if (this.#stopping.signal.aborted)
      return pending.command.onError(proposalError({ cause: 'stopped', outcome: 'NOT_APPLIED' }));
    const bytes = commandBytes(pending.command);
    const { queueBytes, clock } = this.#options;
    if (this.#queuedBytes + bytes > queueBytes && this.#queuedBytes > 0)
      return pending.command.onError(this.#overloaded());
    this.#queuedBytes += bytes;
    const lane = this.#lanes.get(place.group);
    if (lane !== undefined) return insert(lane.waiting, pending);
    const opened: Lane = { place, waiting: [pending], followed: 0, witnesses: new UnledWitnesses() };
    this.#lanes.set(place.group, opened);
    clock.afterTurn(() => void this.#run(opened));
  }

  async #run(lane: Lane): Promise<void> {
    const { group } = lane.place;
    while (lane.waiting.length > 0 && !this.#stopping.signal.aborted) {
      this.#giveUp(lane);
      if (this.#isServedHere(lane.place)) this.#proposeWaiting(lane);
      else if (lane.waiting.length > 0 && !(await this.#attempt(lane))) await this.#pause();
    }
    this.#lanes.delete(group);
  }

  /** Invariant 4. */
  #giveUp(lane: Lane): void {
    const nowMs = this.#options.clock.monotonicMs();
    const { isGone } = lane.place;
    for (const pending of lane.waiting.splice(0)) {
      if (isGone) this.#fail(pending, { cause: 'group gone', outcome: 'NOT_APPLIED' });
      else if (pending.giveUpMs <= nowMs) this.#end(pending, this.#notLed(lane));
      else insert(lane.waiting, pending);
    }
  }

  #proposeWaiting(lane: Lane): void {
    for (const pending of lane.waiting.splice(0)) {
      this.#release(pending);
      this.#proposeHere(lane.place, pending);
    }
  }

  /** Asks one node. True: something came of it, and there is no need to wait. */
  async #attempt(lane: Lane): Promise<boolean> {
    const target = this.#options.routes.next(lane.place, lane.witnesses.asked);
    if (target === undefined) {
      this.#refuseUnled(lane);
      return false;
    }
    const { member } = target;
    const batch = target.isLeader ? takeBatch(lane.waiting) : []; // whoever may not lead is only asked for it
    let results: readonly CommandResult[];
    try {
      ({ results } = await this.#call(lane, member, batch));
    } catch (error) {
      return this.#onFailed(lane, member, batch, asHoldfastError(error));
    }
    const isNews = this.#options.routes.leads(lane.place, member);
    lane.followed = 0;
    lane.witnesses.forget();
    return batch.length > 0 ? this.#settle(lane, batch, results) : isNews;
  }

  async #call(lane: Lane, member: Member, batch: readonly Pending[]): Promise<ProposeResponse> {
    const { clock, transport, host } = this.#options;
    const { group } = lane.place;
    const nowMs = clock.monotonicMs();
    const timeLeft = ({ command }: Pending) =>
      Math.ceil(Math.min(MAX_TIMEOUT_MS, Math.max(1, command.deadlineMs - nowMs)));
    const commands = batch.map((pending) => {
      const { kind, version, bytes, grows } = pending.command;
      return {
        kind,
        version,
        payload: bytes as Uint8Array<ArrayBuffer>,
        grows,
        timeoutMs: timeLeft(pending),
      };
    });
    const request = create(ProposeRequestSchema, {
      group: BigInt(group),
      commands,
      clusterId: this.#options.clusterId,
    });
    const longestMs = batch.reduce((most, pending) => Math.max(most, timeLeft(pending)), POLL_MS * 10);
    const superseded = new AbortController();
    const signal = AbortSignal.any([superseded.signal, this.#stopping.signal]);
    const look = () => {
      this.#giveUp(lane); // what waits behind the call has deadlines of its own
      const leader = host.leaderOf(group)?.id;
      if (leader !== undefined && leader !== member.id) superseded.abort();
      timer = clock.setTimer(LOOK_MS, look);
    };
    let timer = clock.setTimer(LOOK_MS, look);
    const timeoutMs = Math.min(ATTEMPT_MS, longestMs);
    try {
      const options = { timeoutMs, signal };
      return await transport.unary(member.address, ForwardService.method.propose, request, options);
    } catch (error) {
      // Who gave the call up was this node, not the caller, who may still have time.
      const ours = asHoldfastError(error);
      const isCut = ours.reason === 'DEADLINE_EXCEEDED' && timeoutMs < longestMs;
      if (this.#stopping.signal.aborted && ours.outcome !== 'NOT_APPLIED')
        throw proposalError({ cause: 'stopped', outcome: 'UNKNOWN' });
      throw signal.aborted || isCut ? gaveUp(ours, member) : ours;
    } finally {
      timer.cancel();
    }
  }

  #settle(lane: Lane, batch: readonly Pending[], results: readonly CommandResult[]): boolean {
    let isAnyDone = false;
    for (const [at, pending] of batch.entries()) {
      const error = this.#deliver(pending, results[at]?.result);
      if (error === undefined) isAnyDone = true;
      else if (isRefusedUntaken(error)) insert(lane.waiting, pending);
      else {
        isAnyDone = true;
        this.#end(pending, error);
      }
    }
    return isAnyDone;
  }

  /** Undefined: the command has its result. */
  #deliver(pending: Pending, result: CommandResult['result'] | undefined): HoldfastError | undefined {
    if (result?.case === 'error') return errorFromMessage(result.value);
    if (result?.case !== 'outcome') return unreadable();
    let outcome: unknown;
    try {
      outcome = pending.command.decodeResult(result.value);
    } catch (cause) {
      return unreadable(cause);
    }
    this.#release(pending);
    this.#options.observe?.('write', 'OK', 1);
    pending.command.onApplied(outcome);
    return undefined;
  }

  /** A whole call failed. Invariant 2. */
  #onFailed(lane: Lane, member: Member, batch: readonly Pending[], error: HoldfastError): boolean {
    const { routes } = this.#options;
    if (isRefusedUntaken(error) && this.#stopping.signal.aborted) {
      for (const pending of batch) this.#fail(pending, { cause: 'stopped', outcome: 'NOT_APPLIED' });
      return false;
    }
    if (isRefusedUntaken(error)) {
      for (const pending of batch) insert(lane.waiting, pending);
      lane.witnesses.note(member, error);
      if (error.reason === 'NOT_LEADER' || error.reason === 'NO_LEADER')
        return routes.refused(lane.place, error.leader) && ++lane.followed <= FOLLOWED_HINTS;
      routes.failed(member);
      return false;
    }
    if (error.outcome !== 'NOT_APPLIED') routes.failed(member);
    const fate = error.outcome === 'NOT_APPLIED' ? error : error.withOutcome('UNKNOWN');
    for (const pending of batch) this.#end(pending, fate);
    return batch.length > 0;
  }

  /** There is nobody left to ask: to wait for the deadline would tell the callers nothing more. */
  #refuseUnled(lane: Lane): void {
    const error = this.#notLed(lane);
    if (error.reason === 'NO_LEADER') for (const pending of lane.waiting.splice(0)) this.#end(pending, error);
    lane.witnesses.forget();
  }

  #notLed({ place, witnesses }: Lane): HoldfastError {
    return witnesses.error(this.#options.host.notLed(place.group));
  }

  async #pause(): Promise<void> {
    await sleep(this.#options.clock, POLL_MS, this.#stopping.signal).catch(() => undefined);
  }

  #fail(pending: Pending, failure: ProposalFailure): void {
    this.#end(pending, proposalError(failure));
  }

  #end(pending: Pending, error: HoldfastError): void {
    this.#release(pending);
    this.#options.observe?.('write', error.reason, 1);
    pending.command.onError(error);
  }

  #release({ command }: Pending): void {
    this.#queuedBytes -= commandBytes(command);
  }

  #overloaded(): HoldfastError {
    const { queueBytes } = this.#options;
    return new HoldfastError({
      reason: 'OVERLOADED',
      message: `${this.#queuedBytes} bytes of writes wait to be passed on to other nodes, limit ${queueBytes}. Nothing was written; try again later.`,
      outcome: 'NOT_APPLIED',
      actual: String(this.#queuedBytes),
      limit: String(queueBytes),
      retryAfterMs: 100,
    });
  }
}

/** A forwarded command in the hands of the host of this node. */
class OwnProposal implements Proposal {
  readonly kind: number;
  readonly version: number;
  readonly bytes: Uint8Array;
  readonly deadlineMs: number;
  readonly #forwarder: Forwarder;
  readonly #place: GroupPlace;
  readonly #pending: Pending;

  constructor(forwarder: Forwarder, place: GroupPlace, pending: Pending) {
    const { kind, version, bytes, deadlineMs } = pending.command;
    this.kind = kind;
    this.version = version;
    this.bytes = bytes;
    this.deadlineMs = deadlineMs;
    this.#forwarder = forwarder;
    this.#place = place;
    this.#pending = pending;
  }

  get decoded(): unknown {
    return this.#pending.command.decoded;
  }

  onApplied(result: unknown): void {
    this.#pending.command.onApplied(result);
  }

  onFailed(failure: ProposalFailure): void {
    const { cause, outcome } = failure;
    if (cause === 'not leader' && outcome === 'NOT_APPLIED')
      this.#forwarder.takeBack(this.#place, this.#pending);
    else this.#pending.command.onError(proposalError(failure));
  }
}

/** Whether a node says that it took nothing, and another may. */
export function isRefusedUntaken({ code, outcome }: HoldfastError): boolean {
  return code === 'UNAVAILABLE' && outcome === 'NOT_APPLIED';
}

/** Puts a command where it belongs: what came first goes first. Invariant 1. */
function insert(waiting: Pending[], pending: Pending): void {
  let at = waiting.length;
  while (at > 0 && waiting[at - 1]!.order > pending.order) at--;
  waiting.splice(at, 0, pending);
}

function takeBatch(waiting: Pending[]): Pending[] {
  let count = 0;
  let bytes = 0;
  for (const { command } of waiting) {
    bytes += commandBytes(command);
    if (count === BATCH_COMMANDS || (bytes > BATCH_BYTES && count > 0)) break;
    count++;
  }
  return waiting.splice(0, count);
}

function unreadable(cause?: unknown): HoldfastError {
  const message =
    'the node that applied the write answered what this one cannot read. It may have been kept.';
  return new HoldfastError({ reason: 'INTERNAL', message, outcome: 'UNKNOWN', cause });
}

/** A call that this node has ended: another one may lead by now, or the asked one does not answer. */
function gaveUp(error: HoldfastError, { name }: Member): HoldfastError {
  if (error.outcome === 'NOT_APPLIED' || error.reason === 'NOT_LEADER') return error;
  return new HoldfastError({
    reason: 'NOT_LEADER',
    message: `${name} was taken for the leader and did not answer in time. The write may or may not have been kept.`,
    outcome: 'UNKNOWN',
    cause: error,
  });
}
