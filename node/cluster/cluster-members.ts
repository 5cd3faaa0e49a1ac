/**
 * The members of the cluster as this node has applied them: a table in the coordination tree,
 * followed entry by entry, with what the directory remembers of it until then.
 *
 *  1. The table never goes back: what is older than what is known is passed over.
 */
import { decodeTable } from './member-codec.ts';
import type { ClusterTree } from './cluster-tree.ts';
import type { Membership, MemberTable } from './membership.ts';

const PREFIX = '/holdfast/members/';
/** Where the table stands. */
export const MEMBER_TABLE = `${PREFIX}table`;

export class ClusterMembers {
  readonly #tree: ClusterTree;
  readonly #onChange: (membership: Membership) => void;
  #current: Membership;

  /** `remembered`: what the directory knows. `onChange` is told of every later table. */
  constructor(tree: ClusterTree, remembered: Membership, onChange: (membership: Membership) => void) {
    this.#tree = tree;
    this.#current = remembered;
    this.#onChange = onChange;
    tree.watch({
      prefix: PREFIX,
      onChange: ({ key, value }) => {
        if (key === MEMBER_TABLE && value !== undefined) this.#take(decodeTable(value));
      },
      onReplaced: () => this.#read(),
    });
    this.#read();
  }

  get current(): Membership {
    return this.#current;
  }

  /** The table as it stands in the tree here, to be compared when it is changed; undefined: there is none yet. */
  get written(): { readonly table: MemberTable; readonly modRevision: number } | undefined {
    const node = this.#tree.get(MEMBER_TABLE);
    return node && { table: decodeTable(node.value), modRevision: node.modRevision };
  }

  /** Another member has applied this table. */
  learn(table: MemberTable): void {
    const { version, nextId, members } = table;
    this.#take({ version, nextId, members });
  }

  #read(): void {
    const written = this.written;
    if (written !== undefined) this.#take(written.table);
  }

  /** Invariant 1. */
  #take(table: MemberTable): void {
    if (table.version <= this.#current.version) return;
    this.#current = { ...this.#current, ...table };
    this.#onChange(this.#current);
  }
}
