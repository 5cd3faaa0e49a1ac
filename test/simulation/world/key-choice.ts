/** The keys of a run: few, so that callers meet, of several kinds, so that each can be checked in its way. */
import { keyHash } from '../../../client/key-hash.ts';
import { PartitionTable, partitionArcs } from '../../../client/partition-table.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { pick, type KeyspacePlan } from './world-settings.ts';

/** Keys with a time to live of each keyspace. */
const EXPIRING = 2;
/** Written together by transactions alone, with one value: see `transactions.ts`. */
export const PAIR = ['pair-a', 'pair-b'] as const;

export class KeyChoice {
  readonly #plans: readonly KeyspacePlan[];
  readonly #tables: ReadonlyMap<string, PartitionTable>;

  constructor(plans: readonly KeyspacePlan[]) {
    this.#plans = plans;
    this.#tables = new Map(
      plans.map(({ name, partitions }) => [
        name,
        new PartitionTable(partitionArcs(partitions).map((arc) => ({ ...arc, group: 0n }))),
      ]),
    );
  }

  keyspace(random: SeededRandom): { readonly keyspace: string } {
    return { keyspace: pick(random, ...this.#plans).name };
  }

  /** Keyspaces in which all keys lie in one partition. */
  undivided(random: SeededRandom): string {
    return pick(random, ...this.#plans.filter(({ partitions }) => partitions === 1)).name;
  }

  register(random: SeededRandom, keyspace: string): string {
    return `r${Math.floor(random.float() * this.#plan(keyspace).registers)}`;
  }

  /** Only ever incremented. */
  counter(random: SeededRandom, keyspace: string): string {
    return `n${Math.floor(random.float() * this.#plan(keyspace).counters)}`;
  }

  expiring(random: SeededRandom): string {
    return `t${Math.floor(random.float() * EXPIRING)}`;
  }

  /** All keys of a keyspace that a history can be checked of. */
  all(keyspace: string): string[] {
    const { registers, counters, partitions } = this.#plan(keyspace);
    return [
      ...numbered('r', registers),
      ...numbered('n', counters),
      ...numbered('t', EXPIRING),
      ...(partitions === 1 ? PAIR : []),
    ];
  }

  /** All of all keyspaces. */
  everything(): { readonly keyspace: string; readonly key: string }[] {
    return this.#plans.flatMap(({ name }) => this.all(name).map((key) => ({ keyspace: name, key })));
  }

  /** A key of each partition, that nobody else uses. */
  probes(): { readonly keyspace: string; readonly key: string }[] {
    return this.#plans.flatMap(({ name, partitions }) => {
      const byPartition = new Map<string, string>();
      for (let i = 0; byPartition.size < partitions; i++) {
        const partition = this.partitionOf(`${name}/probe${i}`);
        if (!byPartition.has(partition)) byPartition.set(partition, `probe${i}`);
      }
      return [...byPartition.values()].map((key) => ({ keyspace: name, key }));
    });
  }

  /** Names the partition of a key of the history. */
  partitionOf(path: string): string {
    const [keyspace, key] = path.split('/') as [string, string];
    return `${keyspace}/${this.#tables.get(keyspace)!.indexOfHash(keyHash(Buffer.from(key)))}`;
  }

  #plan(keyspace: string): KeyspacePlan {
    return this.#plans.find(({ name }) => name === keyspace)!;
  }
}

function numbered(letter: string, count: number): string[] {
  return Array.from({ length: count }, (_, position) => `${letter}${position}`);
}
