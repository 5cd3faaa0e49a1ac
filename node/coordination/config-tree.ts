/**
 * The coordination tree: the state machine of group 0. Every change has a revision of
 * its own that counts up by one. It runs the cluster itself: keyspaces are keys under
 * `/holdfast/` in it.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { binaryBytes, groupPrefix, prefixEnd, type RowKey } from '../storage/row-key.ts';
import type { LiveRow, RowStore } from '../storage/row-store.ts';
import type { Command } from '../raft/entry.ts';
import { COORDINATION_GROUP } from '../raft/members.ts';
import type { StateMachine } from '../raft/state-machine.ts';
import {
  TreeCommandKind,
  decodeRaiseRevision,
  decodeTransaction,
  encodeOutcome,
  type TreeChange,
  type TreeOutcome,
  type TreeTransaction,
} from './tree-command.ts';

/** A key of the tree. */
export interface TreeNode {
  readonly key: string;
  readonly value: Uint8Array;
  /** Revision of the last change. */
  readonly modRevision: number;
}

export class ConfigTree implements StateMachine {
  readonly #rows: RowStore;
  readonly #prefix: RowKey;
  readonly #onChange: (change: TreeChange, revision: number) => void;
  readonly #onReplaced: () => void;

  constructor(
    rows: RowStore,
    generation: number,
    onChange: (change: TreeChange, revision: number) => void,
    onReplaced: () => void,
  ) {
    this.#rows = rows;
    this.#prefix = groupPrefix(COORDINATION_GROUP, generation);
    this.#onChange = onChange;
    this.#onReplaced = onReplaced;
  }

  onInstalled(): void {
    this.#onReplaced();
  }

  parse({ kind, version, bytes }: Command): TreeTransaction {
    if (kind === TreeCommandKind.transact && version === 1) return decodeTransaction(bytes);
    if (kind === TreeCommandKind.raiseRevision && version === 1) {
      decodeRaiseRevision(bytes);
      return NO_CHANGE;
    }
    throw new RangeError(`unknown tree command ${kind} version ${version}`);
  }

  encodeResult(result: unknown): Uint8Array {
    return encodeOutcome(result as TreeOutcome);
  }

  apply(command: Command): TreeOutcome {
    const { comparisons, changes } = this.parse(command);
    const counter = this.#counter();
    if (command.kind === TreeCommandKind.raiseRevision) {
      counter.revision = Math.max(counter.revision, decodeRaiseRevision(command.bytes));
      this.#rows.putLive(`${this.#prefix}m`, counter);
    }
    const holds = comparisons.every(
      ({ key, modRevision }) => (this.get(key)?.modRevision ?? 0) === modRevision,
    );
    if (!holds || changes.length === 0) return { succeeded: holds, revision: counter.revision };
    counter.revision++;
    this.#rows.putLive(`${this.#prefix}m`, counter);
    for (const change of changes) this.#change(change, counter.revision);
    return { succeeded: true, revision: counter.revision };
  }

  /** Of the last change, or what it was raised to. */
  get revision(): number {
    return this.#counter().revision;
  }

  /** A key as applied. */
  get(key: string): TreeNode | undefined {
    const content = this.#rows.get(this.#rowKey(key));
    return content === undefined ? undefined : decodeNode(key, content);
  }

  /** All keys that begin with `prefix`, in order. */
  async list(prefix: string): Promise<TreeNode[]> {
    const start = this.#rowKey(prefix);
    const nodes: TreeNode[] = [];
    let from = start;
    for (;;) {
      const { rows, more } = await this.#rows.range(from, prefixEnd(start), 1_000);
      for (const [row, content] of rows) nodes.push(decodeNode(this.#keyOf(row), content));
      if (!more) return nodes;
      from = `${rows.at(-1)![0]}\0`;
    }
  }

  #counter(): RevisionCounter {
    return this.#rows.live(`${this.#prefix}m`, RevisionCounter.decode) ?? new RevisionCounter(0);
  }

  #change(change: TreeChange, revision: number): void {
    const row = this.#rowKey(change.key);
    if (change.value === undefined) this.#rows.delete(row);
    else
      this.#rows.put(
        row,
        new ByteWriter(16 + change.value.byteLength).u64(revision).bytes(change.value).finish(),
      );
    this.#onChange(change, revision);
  }

  #rowKey(key: string): RowKey {
    return `${this.#prefix}t${Buffer.from(key).toString('latin1')}`;
  }

  #keyOf(row: RowKey): string {
    return binaryBytes(row.slice(this.#prefix.length + 1)).toString('utf8');
  }
}

const NO_CHANGE: TreeTransaction = { comparisons: [], changes: [] };

function decodeNode(key: string, content: Uint8Array): TreeNode {
  const reader = new ByteReader(content);
  const modRevision = reader.u64();
  return { key, modRevision, value: reader.bytes() };
}

class RevisionCounter implements LiveRow {
  revision: number;

  constructor(revision: number) {
    this.revision = revision;
  }

  static decode(content: Uint8Array): RevisionCounter {
    return new RevisionCounter(new ByteReader(content).u64());
  }

  encode(): Uint8Array {
    return new ByteWriter(8).u64(this.revision).finish();
  }
}
