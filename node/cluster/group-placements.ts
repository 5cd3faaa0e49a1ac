/**
 * Who is to hold the replicas of each group, and who does by its leader's last word, as this
 * node has applied it: keys under `/holdfast/replicas/` in the coordination tree. The target is
 * written by whoever leads group 0, the rest by whoever leads the group; both compare, so that
 * neither loses the other's word.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { GroupReplicasSchema } from '@holdfast/proto/cluster/v1/cluster';
import type { ClusterTree } from './cluster-tree.ts';

/** Where they stand, each under the number of its group. */
export const PLACEMENTS = '/holdfast/replicas/';

/** What the tree says of a group. */
export interface GroupPlacement {
  /** Who is to hold its replicas; empty: as they are. */
  readonly target: readonly number[];
  /** The last applied entry of who said the following; 0: nobody did. */
  readonly index: number;
  readonly voters: readonly number[];
  readonly learners: readonly number[];
}

const NOTHING: GroupPlacement = { target: [], index: 0, voters: [], learners: [] };

/** Key of a group. */
export function placementKey(group: number): string {
  return `${PLACEMENTS}${group}`;
}

/** Changes of placements, to be made only if they are as this node knows them. */
export function placementChanges(
  tree: ClusterTree,
  placements: ReadonlyMap<number, GroupPlacement>,
): {
  comparisons: { key: string; modRevision: number }[];
  changes: { key: string; value: Uint8Array }[];
} {
  const keys = [...placements].map(([group, placement]) => ({ key: placementKey(group), placement }));
  return {
    comparisons: keys.map(({ key }) => ({ key, modRevision: tree.get(key)?.modRevision ?? 0 })),
    changes: keys.map(({ key, placement }) => ({ key, value: encode(placement) })),
  };
}

export class GroupPlacements {
  readonly #listeners: ((group: number) => void)[] = [];
  readonly #tree: ClusterTree;
  readonly #known = new Map<number, GroupPlacement>();
  #changes = 0;

  private constructor(tree: ClusterTree) {
    this.#tree = tree;
  }

  /** Reads what there is, and follows changes. */
  static async open(tree: ClusterTree): Promise<GroupPlacements> {
    const placements = new GroupPlacements(tree);
    tree.watch({
      prefix: PLACEMENTS,
      onChange: ({ key, value }) => placements.#note(Number(key.slice(PLACEMENTS.length)), value),
      onReplaced: () => void placements.#read().catch(() => undefined), // damage stops the node elsewhere
    });
    await placements.#read();
    return placements;
  }

  /** Has `listener` told of each group whose placement is another. */
  follow(listener: (group: number) => void): void {
    this.#listeners.push(listener);
  }

  /** What is known of a group. */
  of(group: number): GroupPlacement {
    return this.#known.get(group) ?? NOTHING;
  }

  #note(group: number, value: Uint8Array | undefined): void {
    this.#changes++;
    if (value === undefined) this.#known.delete(group);
    else this.#known.set(group, decodePlacement(value));
    this.#tell(group);
  }

  #tell(group: number): void {
    for (const listener of this.#listeners) listener(group);
  }

  /** Anew whenever something changed meanwhile. */
  async #read(): Promise<void> {
    let nodes;
    let changes;
    do {
      changes = this.#changes;
      nodes = await this.#tree.list(PLACEMENTS);
    } while (changes !== this.#changes);
    const groups = new Set(this.#known.keys());
    this.#known.clear();
    for (const { key, value } of nodes)
      this.#known.set(Number(key.slice(PLACEMENTS.length)), decodePlacement(value));
    for (const group of new Set([...groups, ...this.#known.keys()])) this.#tell(group);
  }
}

function encode({ target, index, voters, learners }: GroupPlacement): Uint8Array {
  const message = { target: [...target], index: BigInt(index), voters: [...voters], learners: [...learners] };
  return toBinary(GroupReplicasSchema, create(GroupReplicasSchema, message));
}

/** Error: it is none. */
export function decodePlacement(value: Uint8Array): GroupPlacement {
  const { target, index, voters, learners } = fromBinary(GroupReplicasSchema, value);
  return { target, index: Number(index), voters, learners };
}
