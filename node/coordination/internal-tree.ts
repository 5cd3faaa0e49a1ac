/**
 * The cluster's own keys, such as its members and keyspaces: plain values under `/holdfast/`,
 * compared and changed together, without history. Users never see them: theirs are in a tree
 * of their own, which has the same revisions.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { binaryBytes, prefixEnd, type RowKey } from '../storage/row-key.ts';
import type { RowStore } from '../storage/row-store.ts';
import type { Applying } from './machine-part.ts';
import type { TreeChange, TreeOutcome, TreeTransaction } from './tree-command.ts';

/** A key of the tree. */
export interface TreeNode {
  readonly key: string;
  readonly value: Uint8Array;
  /** Revision of the last change. */
  readonly modRevision: number;
}

export class InternalTree {
  readonly #rows: RowStore;
  readonly #prefix: RowKey;
  readonly #onChange: (change: TreeChange, revision: number) => void;

  constructor(rows: RowStore, prefix: RowKey, onChange: (change: TreeChange, revision: number) => void) {
    this.#rows = rows;
    this.#prefix = prefix;
    this.#onChange = onChange;
  }

  /** Changes all or nothing. */
  transact({ comparisons, changes }: TreeTransaction, applying: Applying): TreeOutcome {
    const holds = comparisons.every(
      ({ key, modRevision }) => (this.get(key)?.modRevision ?? 0) === modRevision,
    );
    if (!holds || changes.length === 0) return { succeeded: holds, revision: applying.revision };
    const revision = applying.nextRevision();
    for (const change of changes) this.#change(change, revision);
    return { succeeded: true, revision };
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

function decodeNode(key: string, content: Uint8Array): TreeNode {
  const reader = new ByteReader(content);
  const modRevision = reader.u64();
  return { key, modRevision, value: reader.bytes() };
}
