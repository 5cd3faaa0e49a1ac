/**
 * Consumer groups on this node: proposes what members ask for, lets them wait for another
 * assignment, and, where group 0 is led, takes out who is overdue and looks after partitions
 * that came or went.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import { CoordinationKind, encodeCommand } from '../coordination-command.ts';
import type { CallTerms, Coordination } from '../coordination.ts';
import { refusalError } from '../refusal-error.ts';
import type { ConsumerGroup } from './consumer-group.ts';
import {
  decodeAssignment,
  writeGroupCommand,
  type GroupCommand,
  type JoinCommand,
  type MemberAssignment,
} from './group-command.ts';
import { TOPIC_KEYS, memberRefusal, type GroupPart } from './group-part.ts';
import type { Released } from './consumer-group.ts';

const TICK_MS = 1_000;
const PROPOSAL_MS = 5_000;
const GROUPS_AT_ONCE = 1_000;
/** Time that is kept for the answer. */
const ANSWER_MS = 50;

/** Whoever waits for another assignment. */
export interface SyncTerms extends CallTerms {
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

export class ConsumerGroups {
  /** How often partitions were shared anew since the start, as applied here. */
  rebalances = 0;
  readonly #generations = new Map<string, number>();
  readonly #coordination: Coordination;
  readonly #clock: Clock;
  readonly #waiters = new Map<string, Set<() => void>>();
  #timer: Timer | undefined;
  #isStopped = false;
  /** Topics changed, or another node has looked after groups before. */
  #mustRefresh = true;
  #led: number | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(coordination: Coordination, clock: Clock) {
    this.#coordination = coordination;
    this.#clock = clock;
    coordination.observe({
      onGroup: (name) => {
        this.#count(name);
        this.#tell(name);
      },
      onOwnChange: ({ key }) => {
        if (key.startsWith(TOPIC_KEYS)) this.#refreshSoon();
      },
      onReplaced: () => {
        for (const name of this.#waiters.keys()) this.#tell(name);
      },
    });
    this.#schedule();
  }

  /** As applied here: anew after each await. */
  get part(): GroupPart {
    return this.#coordination.machine.groups;
  }

  /** Makes a lease a member. Errors: SESSION_EXPIRED, GROUP_STRATEGY_MISMATCH, GROUP_FULL. */
  async join(command: Omit<JoinCommand, 'kind'>, terms: CallTerms): Promise<MemberAssignment> {
    try {
      return await this.#propose({ kind: CoordinationKind.groupJoin, ...command }, terms, decodeAssignment);
    } catch (error) {
      throw error instanceof HoldfastError && error.reason === 'SESSION_EXPIRED'
        ? leaseEnded(command.lease)
        : error;
    }
  }

  /** Gives revoked partitions back. Error: GROUP_MEMBER_UNKNOWN. */
  release(
    group: string,
    member: string,
    released: readonly Released[],
    terms: CallTerms,
  ): Promise<MemberAssignment> {
    const command = { kind: CoordinationKind.groupRelease, group, member, released };
    return this.#propose(command, terms, decodeAssignment);
  }

  async leave(group: string, member: string, terms: CallTerms): Promise<void> {
    await this.#propose({ kind: CoordinationKind.groupLeave, group, member }, terms, () => undefined);
  }

  /** Errors: GROUP_UNKNOWN, GROUP_NOT_EMPTY. */
  async delete(group: string, terms: CallTerms): Promise<void> {
    await this.#propose({ kind: CoordinationKind.groupDelete, group }, terms, () => undefined);
  }

  /** Whether a group is known here to have offsets of a topic. */
  hasOffsets(group: string, topic: string): boolean {
    return this.part.get(group)?.committed.has(topic) === true;
  }

  /** Has it remembered that a group has offsets of a topic. */
  async touch(group: string, topic: string, terms: CallTerms): Promise<void> {
    if (this.hasOffsets(group, topic)) return;
    await this.#propose({ kind: CoordinationKind.groupTouch, group, topic }, terms, () => undefined);
  }

  /**
   * What a member has, when it is another version than the known one; the known one when the time
   * is over. Confirmed by a majority. Errors: GROUP_MEMBER_UNKNOWN, NOT_LEADER.
   */
  async sync(
    group: string,
    member: string,
    knownVersion: number,
    terms: SyncTerms,
  ): Promise<MemberAssignment> {
    const untilMs = Math.min(this.#clock.monotonicMs() + terms.waitMs, terms.deadlineMs - ANSWER_MS);
    await this.#coordination.awaitRead(terms);
    for (;;) {
      const assignment = this.#assignment(group, member);
      const isOver = this.#clock.monotonicMs() >= untilMs || terms.signal.aborted || this.#isStopped;
      if (assignment.version !== knownVersion) return assignment;
      if (isOver) {
        // A node that was cut off meanwhile knows of no change.
        await this.#coordination.awaitRead(terms);
        return this.#assignment(group, member);
      }
      await this.#wait(group, untilMs, terms.signal);
    }
  }

  /** A group as of now. Error: GROUP_UNKNOWN. */
  async describe(group: string, terms: CallTerms): Promise<ConsumerGroup> {
    await this.#coordination.awaitRead(terms);
    const found = this.part.get(group);
    if (found === undefined) throw refusalError({ refused: 'GROUP_UNKNOWN', actual: group });
    return found;
  }

  async list(
    after: string,
    limit: number,
    terms: CallTerms,
  ): Promise<{ groups: [string, ConsumerGroup][]; more: boolean }> {
    await this.#coordination.awaitRead(terms);
    return this.part.list(after, limit);
  }

  /** Those who wait are answered. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    for (const name of this.#waiters.keys()) this.#tell(name);
    await this.#running;
  }

  #assignment(name: string, member: string): MemberAssignment {
    const { part } = this;
    const group = part.get(name);
    const found = group && part.assignmentOf(group, member);
    if (found === undefined) throw refusalError(memberRefusal(group, member)!);
    return found;
  }

  #count(name: string): void {
    const generation = this.part.get(name)?.generation;
    const before = this.#generations.get(name);
    if (generation === undefined) this.#generations.delete(name);
    else this.#generations.set(name, generation);
    if (generation !== undefined && generation !== (before ?? 0)) this.rebalances++;
  }

  #tell(name: string): void {
    const waiters = this.#waiters.get(name);
    if (waiters === undefined) return;
    this.#waiters.delete(name);
    for (const waiter of waiters) waiter();
  }

  #wait(name: string, untilMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.#waiters.get(name) ?? new Set();
      this.#waiters.set(name, waiters);
      const end = () => {
        timer.cancel();
        waiters.delete(end);
        signal.removeEventListener('abort', end);
        resolve();
      };
      const timer = this.#clock.setTimer(Math.max(1, untilMs - this.#clock.monotonicMs()), end);
      waiters.add(end);
      signal.addEventListener('abort', end);
    });
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimer(TICK_MS, () => {
      this.#running = this.#tick().finally(() => {
        if (!this.#isStopped) this.#schedule();
      });
    });
  }

  #refreshSoon(): void {
    this.#mustRefresh = true;
    if (this.#coordination.leadingTerm === undefined || this.#isStopped) return;
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(10, () => {
      this.#running = this.#tick().finally(() => {
        if (!this.#isStopped) this.#schedule();
      });
    });
  }

  /** Only where group 0 is led; what fails is found again by the next one. */
  async #tick(): Promise<void> {
    const term = this.#coordination.leadingTerm;
    if (term !== this.#led) this.#mustRefresh = true;
    this.#led = term;
    if (term === undefined) return;
    const mustRefresh = this.#mustRefresh;
    this.#mustRefresh = false;
    try {
      for (let after = ''; ;) {
        const { groups, more } = await this.part.list(after, GROUPS_AT_ONCE);
        for (const [name, group] of groups) await this.#lookAfter(name, group, mustRefresh);
        if (!more || this.#isStopped) return;
        after = groups.at(-1)![0];
      }
    } catch {
      this.#mustRefresh = true;
    }
  }

  async #lookAfter(group: string, state: ConsumerGroup, mustRefresh: boolean): Promise<void> {
    const terms = { deadlineMs: this.#clock.monotonicMs() + PROPOSAL_MS, isRouted: true };
    if (mustRefresh && state.isOutdated(this.part.countOf))
      await this.#propose({ kind: CoordinationKind.groupRefresh, group }, terms, () => undefined);
    if (state.overdue(this.#clock.wallMs()).length > 0)
      await this.#propose({ kind: CoordinationKind.groupExpel, group }, terms, () => undefined);
  }

  #propose<T>(command: GroupCommand, terms: CallTerms, decode: (outcome: Uint8Array) => T): Promise<T> {
    const encoded = encodeCommand(
      command.kind,
      undefined,
      (writer) => writeGroupCommand(writer, command),
      512,
    );
    // Little, and whoever reads must be able to go on where space is low.
    return this.#coordination.propose(encoded, { ...terms, grows: false, decode });
  }
}

function leaseEnded(lease: bigint): HoldfastError {
  return new HoldfastError({
    reason: 'SESSION_EXPIRED',
    message: `there is no lease ${lease} (any more), so it cannot be a member. Nothing was changed. Grant a lease and join with it.`,
    outcome: 'NOT_APPLIED',
    field: 'lease',
    actual: String(lease),
  });
}
