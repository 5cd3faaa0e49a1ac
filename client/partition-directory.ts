import type { Keyspace } from '@holdfast/proto/kv/v1/keyspace';
import { PartitionTable } from './partition-table.ts';

const RELOAD_MS = 5_000;

interface Known {
  table: PartitionTable | undefined;
  /** One a partition: 1 once it has answered a write of this client. */
  opened: Uint8Array;
  /** One a partition: the endpoint of its leader, as far as it is known. */
  leaders: (string | undefined)[];
  /** When the table may be asked for (again). */
  loadAtMs: number;
}

/**
 * The partitions of the keyspaces in use, which of them know this client, and who leads
 * them. A write to a partition that may not know it is flagged `open`; that flag is
 * harmless on a first attempt, and any node says who leads, so nothing ever waits for a
 * table.
 */
export class PartitionDirectory {
  readonly #load: (keyspace: string) => Promise<Keyspace | undefined>;
  readonly #known = new Map<string, Known>();

  /** `load` describes a keyspace; it is called at most every five seconds for each. */
  constructor(load: (keyspace: string) => Promise<Keyspace | undefined>) {
    this.#load = load;
  }

  /** Whether a first attempt must be flagged `open`. */
  mustOpen(keyspace: string, hash: number, nowMs: number): boolean {
    const known = this.#lookUp(keyspace, nowMs);
    return known.table === undefined || known.opened[known.table.indexOfHash(hash)] !== 1;
  }

  /** The endpoint of the leader for a hash, if it is known. */
  leaderOf(keyspace: string, hash: number): string | undefined {
    const known = this.#known.get(keyspace);
    return known?.table === undefined ? undefined : known.leaders[known.table.indexOfHash(hash)];
  }

  /** A node has named the leader for a hash; undefined: whoever was taken for it is not. */
  noteLeader(keyspace: string, hash: number, endpoint: string | undefined, nowMs: number): void {
    const known = this.#lookUp(keyspace, nowMs);
    if (known.table === undefined) return;
    known.leaders[known.table.indexOfHash(hash)] = endpoint;
  }

  /** A node cannot be reached: whatever it led, it may lead no more. */
  forgetEndpoint(endpoint: string): void {
    for (const { leaders } of this.#known.values())
      for (let index = 0; index < leaders.length; index++)
        if (leaders[index] === endpoint) leaders[index] = undefined;
  }

  /** The partition of this hash has answered a write. */
  answered(keyspace: string, hash: number): void {
    const known = this.#known.get(keyspace);
    if (known?.table !== undefined) known.opened[known.table.indexOfHash(hash)] = 1;
  }

  /** A call was refused: what is known may be wrong when the keyspace is gone or the client forgotten. */
  refused(keyspace: string, reason: string): void {
    if (reason === 'KEYSPACE_UNKNOWN' || reason === 'CLIENT_EXPIRED') this.#known.delete(keyspace);
  }

  #lookUp(keyspace: string, nowMs: number): Known {
    let known = this.#known.get(keyspace);
    if (known === undefined) {
      known = { table: undefined, opened: new Uint8Array(0), leaders: [], loadAtMs: nowMs };
      this.#known.set(keyspace, known);
    }
    if (known.table === undefined && nowMs >= known.loadAtMs) {
      known.loadAtMs = nowMs + RELOAD_MS;
      void this.#fill(keyspace, known);
    }
    return known;
  }

  async #fill(keyspace: string, known: Known): Promise<void> {
    try {
      const description = await this.#load(keyspace);
      if (description === undefined) return;
      known.table = new PartitionTable(description.partitions);
      known.opened = new Uint8Array(known.table.arcs.length);
      known.leaders = new Array<undefined>(known.table.arcs.length).fill(undefined);
    } catch {
      // Without a table writes stay flagged `open`; the next write after a while tries again.
    }
  }
}
