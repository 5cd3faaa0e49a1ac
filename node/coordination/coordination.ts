/**
 * The coordination on this node: proposes commands to group 0, says when what is applied here
 * may be read, and tells of what is applied. What there is to read is the machine's.
 */
import { sleep, type Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { Admission } from '../cluster/admission.ts';
import type { ForwardedCommand, Forwarder } from '../cluster/forwarder.ts';
import type { GroupPlace } from '../cluster/group-routes.ts';
import type { Command } from '../raft/entry.ts';
import type { GroupHost } from '../raft/group-host.ts';
import type { GroupReplica } from '../raft/group-replica.ts';
import { COORDINATION_GROUP } from '../raft/members.ts';
import { awaitRead, isNotLed, propose, proposalError } from '../raft/propose.ts';
import type { Proposal } from '../raft/state-machine.ts';
import type { RowStore } from '../storage/row-store.ts';
import { encodeChecked } from './coordination-command.ts';
import { EventFeed, type CoordinationEvents } from './coordination-events.ts';
import { CoordinationMachine } from './coordination-machine.ts';
import { NO_PERMISSIONS, type Grant } from './grant.ts';
import type { TreeNode } from './internal-tree.ts';
import { refusalError } from './refusal-error.ts';
import { decodeOutcome, isRefusal, type Outcome } from './refusal.ts';
import {
  decodeOutcome as decodeTreeOutcome,
  encodeRaiseRevision,
  encodeTransaction,
  type TreeChange,
  type TreeOutcome,
  type TreeTransaction,
} from './tree-command.ts';

/** Longest that the node's own transactions may take. */
const DEADLINE_MS = 10_000;
/** How often a caller is let in anew, when permissions change all the time. */
const CHECKS = 8;
/** Between two attempts to have a read confirmed. */
const READ_AGAIN_MS = 50;
/** Bound on what commands that wait for group 0 may cost when nobody else says so: a test. */
const ALWAYS: Admission = () => undefined;

/** Who follows a part of the cluster's own keys. */
export interface TreeWatcher {
  readonly prefix: string;
  onChange(change: TreeChange): void;
  /** The whole tree was replaced, and what changed was not told one by one: it has to be read again. */
  onReplaced(): void;
}

/** For whom something is done. */
export interface CallTerms {
  /** Monotonic time by which it must have ended. */
  readonly deadlineMs: number;
  /** The caller asks whoever leads, and wants to be told who that is. */
  readonly isRouted: boolean;
  /** Undefined: the node does it by itself. */
  readonly grant?: Grant | undefined;
}

/** How a command is proposed, and what becomes of its outcome. */
export interface ProposeTerms<T> extends CallTerms {
  /** Whether it adds data: refused while the disk is low. */
  readonly grows: boolean;
  /** What its part has encoded. */
  readonly decode: (outcome: Uint8Array) => T;
}

export class Coordination {
  readonly #host: GroupHost;
  readonly #clock: Clock;
  readonly #replica: GroupReplica<CoordinationMachine>;
  readonly #feed = new EventFeed();
  readonly #forwarder: Forwarder | undefined;
  readonly #admission: Admission;
  readonly #place: GroupPlace;

  /** Adds group 0 to the host. Its first voters are `voters`. */
  constructor(
    host: GroupHost,
    rows: RowStore,
    clock: Clock,
    voters: readonly number[],
    forwarder?: Forwarder,
    admission = ALWAYS,
  ) {
    this.#host = host;
    this.#clock = clock;
    this.#forwarder = forwarder;
    this.#admission = admission;
    // All members have a replica, so it matters little who is asked first.
    this.#place = { group: COORDINATION_GROUP, replicas: voters, isGone: false };
    this.#replica = host.addGroup(
      COORDINATION_GROUP,
      voters,
      (generation) => new CoordinationMachine(rows, generation, this.#feed),
    );
  }

  /** What is applied here, to be read. A snapshot puts another in its place: look it up anew after an await. */
  get machine(): CoordinationMachine {
    return this.#replica.machine;
  }

  /** Whether this node leads group 0. */
  get isLeader(): boolean {
    return this.#replica.isLeader;
  }

  /** Term of group 0 as this node knows it. */
  get term(): number {
    return this.#replica.term;
  }

  /** Term in which this node leads group 0; undefined: it does not. */
  get leadingTerm(): number | undefined {
    return this.#replica.isLeader && this.#host.failure === undefined ? this.#replica.term : undefined;
  }

  /** What to tell those who wait for group 0 when nobody has led it for long; undefined: somebody does, or soon will. */
  get unledError(): HoldfastError | undefined {
    const { leader, unled } = this.#host.notLed(COORDINATION_GROUP);
    if (this.isLeader || leader !== undefined || unled === undefined) return undefined;
    return proposalError({ cause: 'not leader', outcome: 'UNKNOWN', unled });
  }

  /** The revision as applied on this node. */
  get revision(): number {
    return this.#replica.machine.revision;
  }

  /** Tells of everything that is applied from now on; returns how to hear no more. */
  observe(observer: Partial<CoordinationEvents>): () => void {
    return this.#feed.add(observer);
  }

  /**
   * Has a command applied and resolves with its outcome: by this node, or wherever group 0 is
   * led, if the caller does not route. What is proposed in one turn goes together. Error:
   * HoldfastError with outcome.
   */
  propose<T>(command: Command, terms: ProposeTerms<T>): Promise<T> {
    const { grant } = terms;
    if (grant === undefined) return this.#propose(command, terms);
    return this.#proposeChecked(command, terms, grant);
  }

  /** The state machine takes what was checked by the newest permissions: who is behind looks again. */
  async #proposeChecked<T>(command: Command, terms: ProposeTerms<T>, grant: Grant): Promise<T> {
    for (let attempts = 1; ; attempts++) {
      const { revision } = grant;
      try {
        // Where there are no users yet, commands are those that every release knows.
        const checked = revision === NO_PERMISSIONS ? command : encodeChecked(command, revision);
        return await this.#propose(checked, terms);
      } catch (error) {
        const isOld = error instanceof HoldfastError && error.reason === 'AUTH_REVISION_OLD';
        if (!isOld || attempts >= CHECKS) throw error;
      }
      await this.awaitRead({ ...terms, isRouted: false });
      grant.renew();
    }
  }

  #propose<T>(command: Command, { deadlineMs, isRouted, grows, decode }: ProposeTerms<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const onApplied = (result: unknown) => {
        const outcome = result as Outcome;
        if (isRefusal(outcome)) return reject(refusalError(outcome));
        try {
          resolve(decode(outcome));
        } catch (error) {
          reject(unreadable(error));
        }
      };
      const proposal: ForwardedCommand & Proposal = {
        ...command,
        deadlineMs,
        grows,
        onApplied,
        decodeResult: decodeOutcome,
        onFailed: (failure) => reject(proposalError(failure)),
        onError: reject,
      };
      if (!isRouted && this.#forwarder !== undefined) return this.#forwarder.propose(this.#place, proposal);
      const refusal = this.#admission(command.bytes.byteLength, grows);
      if (refusal !== undefined) return reject(refusal);
      this.#host.propose(COORDINATION_GROUP, proposal);
    });
  }

  /**
   * Resolves when everything that was acknowledged before is applied on this node. A caller that
   * routes is told at once who leads when that cannot be had here. Errors: NOT_LEADER, NO_LEADER.
   */
  async awaitRead({ deadlineMs, isRouted }: CallTerms): Promise<void> {
    while (!this.#host.canReadNow(COORDINATION_GROUP)) {
      try {
        return await awaitRead(this.#host, COORDINATION_GROUP);
      } catch (error) {
        const hasTime = this.#clock.monotonicMs() + 2 * READ_AGAIN_MS < deadlineMs;
        if (isRouted || !isNotLed(error) || !hasTime) throw error;
        await sleep(this.#clock, READ_AGAIN_MS);
      }
    }
  }

  /** A key of the cluster's own as applied on this node. */
  get(key: string): TreeNode | undefined {
    return this.#replica.machine.own.get(key);
  }

  /** All keys of the cluster's own that begin with `prefix`. */
  list(prefix: string): Promise<TreeNode[]> {
    return this.#replica.machine.own.list(prefix);
  }

  /**
   * Compares and changes keys of the cluster's own atomically, on this node; `anywhere`:
   * wherever the tree is led. Error: HoldfastError with outcome.
   */
  transact(transaction: TreeTransaction, anywhere = false): Promise<TreeOutcome> {
    return this.#proposeOwn(encodeTransaction(transaction), anywhere);
  }

  /** Has every later change a revision above this one; as `transact`. */
  async raiseRevision(revision: number, anywhere = false): Promise<void> {
    await this.#proposeOwn(encodeRaiseRevision(revision), anywhere);
  }

  /** Tells of each later change of the cluster's own keys under a prefix, as it is applied. */
  watch({ prefix, onChange, onReplaced }: TreeWatcher): void {
    this.#feed.add({
      onOwnChange: (change) => {
        if (change.key.startsWith(prefix)) onChange(change);
      },
      onReplaced,
    });
  }

  async #proposeOwn(command: Command, anywhere: boolean): Promise<TreeOutcome> {
    const deadlineMs = this.#clock.monotonicMs() + DEADLINE_MS;
    const forwarder = anywhere ? this.#forwarder : undefined;
    if (forwarder === undefined)
      return (await propose(this.#host, COORDINATION_GROUP, command, deadlineMs)) as TreeOutcome;
    return new Promise((resolve, reject) => {
      const forwarded: ForwardedCommand = {
        ...command,
        deadlineMs,
        grows: false,
        onApplied: (result) => resolve(result as TreeOutcome),
        decodeResult: decodeTreeOutcome,
        onError: reject,
      };
      forwarder.propose(this.#place, forwarded);
    });
  }
}

function unreadable(cause: unknown): HoldfastError {
  const message =
    'the node that applied the write answered what this one cannot read. It may have been kept.';
  return new HoldfastError({ reason: 'INTERNAL', message, outcome: 'UNKNOWN', cause });
}
