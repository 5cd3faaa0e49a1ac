/** The coordination tree on this node: proposes transactions, tells of changes. */
import type { Clock } from '@holdfast/client/clock';
import type { GroupHost } from '../raft/group-host.ts';
import type { Command } from '../raft/entry.ts';
import type { GroupReplica } from '../raft/group-replica.ts';
import type { ForwardedCommand, Forwarder } from '../cluster/forwarder.ts';
import type { GroupPlace } from '../cluster/group-routes.ts';
import { COORDINATION_GROUP } from '../raft/members.ts';
import { propose } from '../raft/propose.ts';
import type { RowStore } from '../storage/row-store.ts';
import { ConfigTree, type TreeNode } from './config-tree.ts';
import {
  decodeOutcome,
  encodeRaiseRevision,
  encodeTransaction,
  type TreeChange,
  type TreeOutcome,
  type TreeTransaction,
} from './tree-command.ts';

/** Longest that the node's own transactions may take. */
const DEADLINE_MS = 10_000;

/** Who follows a part of the tree. */
export interface TreeWatcher {
  readonly prefix: string;
  onChange(change: TreeChange): void;
  /** The whole tree was replaced, and what changed was not told one by one: it has to be read again. */
  onReplaced(): void;
}

export class Coordination {
  readonly #host: GroupHost;
  readonly #clock: Clock;
  readonly #replica: GroupReplica<ConfigTree>;
  readonly #watchers: TreeWatcher[] = [];
  readonly #forwarder: Forwarder | undefined;
  readonly #place: GroupPlace;

  /** Adds group 0 to the host. Its first voters are `voters`. */
  constructor(
    host: GroupHost,
    rows: RowStore,
    clock: Clock,
    voters: readonly number[],
    forwarder?: Forwarder,
  ) {
    this.#host = host;
    this.#clock = clock;
    this.#forwarder = forwarder;
    // All members have a replica, so it matters little who is asked first.
    this.#place = { group: COORDINATION_GROUP, replicas: voters, isGone: false };
    const tell = (change: TreeChange) => this.#tell(change);
    const tellReplaced = () => {
      for (const { onReplaced } of this.#watchers) onReplaced();
    };
    this.#replica = host.addGroup(
      COORDINATION_GROUP,
      voters,
      (generation) => new ConfigTree(rows, generation, tell, tellReplaced),
    );
  }

  /** A key as applied on this node. */
  get(key: string): TreeNode | undefined {
    return this.#replica.machine.get(key);
  }

  /** All keys that begin with `prefix`. */
  list(prefix: string): Promise<TreeNode[]> {
    return this.#replica.machine.list(prefix);
  }

  /** Whether this node may change the tree. */
  get isLeader(): boolean {
    return this.#replica.isLeader;
  }

  /**
   * Compares and changes atomically, on this node; `anywhere`: wherever the tree is led.
   * Error: HoldfastError with outcome.
   */
  transact(transaction: TreeTransaction, anywhere = false): Promise<TreeOutcome> {
    return this.#propose(encodeTransaction(transaction), anywhere);
  }

  /** Has every later change a revision above this one; as `transact`. */
  async raiseRevision(revision: number, anywhere = false): Promise<void> {
    await this.#propose(encodeRaiseRevision(revision), anywhere);
  }

  /** The tree's revision as applied on this node. */
  get revision(): number {
    return this.#replica.machine.revision;
  }

  /** Tells of each later change under a prefix, as it is applied. */
  watch(watcher: TreeWatcher): void {
    this.#watchers.push(watcher);
  }

  async #propose(command: Command, anywhere: boolean): Promise<TreeOutcome> {
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
        decodeResult: decodeOutcome,
        onError: reject,
      };
      forwarder.propose(this.#place, forwarded);
    });
  }

  #tell(change: TreeChange): void {
    for (const { prefix, onChange } of this.#watchers) if (change.key.startsWith(prefix)) onChange(change);
  }
}
