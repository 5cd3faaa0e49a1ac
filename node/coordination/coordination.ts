/** The coordination tree on this node: proposes transactions, tells of changes. */
import type { Clock } from '@holdfast/client/clock';
import type { GroupHost } from '../raft/group-host.ts';
import { propose } from '../raft/propose.ts';
import type { RowStore } from '../storage/row-store.ts';
import { COORDINATION_GROUP, ConfigTree, type TreeNode, type TreeOutcome } from './config-tree.ts';
import { encodeTransaction, type TreeChange, type TreeTransaction } from './tree-command.ts';

/** Longest that the node's own transactions may take. */
const DEADLINE_MS = 10_000;

export class Coordination {
  readonly #host: GroupHost;
  readonly #clock: Clock;
  readonly #tree: ConfigTree;
  readonly #watchers: { prefix: string; onChange: (change: TreeChange) => void }[] = [];

  /** Adds group 0 to the host, replaying what its log holds. */
  constructor(host: GroupHost, rows: RowStore, clock: Clock) {
    this.#host = host;
    this.#clock = clock;
    this.#tree = new ConfigTree(rows, (change) => this.#tell(change));
    host.addGroup(COORDINATION_GROUP, this.#tree);
  }

  /** A key as applied on this node. */
  get(key: string): TreeNode | undefined {
    return this.#tree.get(key);
  }

  /** All keys that begin with `prefix`. */
  list(prefix: string): Promise<TreeNode[]> {
    return this.#tree.list(prefix);
  }

  /** Compares and changes atomically. Error: HoldfastError with outcome. */
  async transact(transaction: TreeTransaction): Promise<TreeOutcome> {
    const command = encodeTransaction(transaction);
    const deadlineMs = this.#clock.monotonicMs() + DEADLINE_MS;
    return (await propose(this.#host, COORDINATION_GROUP, command, deadlineMs)) as TreeOutcome;
  }

  /** Calls `onChange` for each later change under `prefix`, as it is applied. */
  watch(prefix: string, onChange: (change: TreeChange) => void): void {
    this.#watchers.push({ prefix, onChange });
  }

  #tell(change: TreeChange): void {
    for (const { prefix, onChange } of this.#watchers) if (change.key.startsWith(prefix)) onChange(change);
  }
}
