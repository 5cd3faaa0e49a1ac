/** Which keys of the configuration end with which lease: an index by lease, then by key. */
import { binaryString, prefixEnd, type RowKey } from '../storage/row-key.ts';
import type { LeaseTable } from './lease-table.ts';
import type { PartRows } from './machine-part.ts';
import type { Refusal } from './refusal.ts';
import type { EntryCodec } from './tree-page.ts';
import { TreePages } from './tree-pages.ts';

/** What the configuration needs of leases. */
export interface KeyLeases {
  exists(lease: bigint): boolean;
  /** Hangs a key on a lease that exists. A refusal when it has as much as it may. */
  attach(lease: bigint, key: string): Refusal | undefined;
  /** Takes a key off, if it hangs there; also to undo an `attach` of the same command. */
  detach(lease: bigint, key: string): void;
  /** The keys of a lease in order, at most `limit`. */
  keysOf(lease: bigint, limit?: number): string[];
}

const NOTHING: EntryCodec<true> = { write: () => undefined, read: () => true, bytes: () => 0 };

export class LeaseKeys implements KeyLeases {
  readonly #leases: Pick<LeaseTable, 'room' | 'addKeys'>;
  readonly #index: TreePages<true>;

  /** `prefix`: of the group's rows. */
  constructor(rows: PartRows, prefix: RowKey, leases: Pick<LeaseTable, 'room' | 'addKeys'>) {
    this.#leases = leases;
    this.#index = new TreePages(rows, `${prefix}a`, NOTHING);
  }

  exists(lease: bigint): boolean {
    return this.#leases.room(lease) !== 'LEASE_UNKNOWN';
  }

  attach(lease: bigint, key: string): Refusal | undefined {
    const refused = this.#leases.room(lease);
    if (refused !== undefined) return { refused, actual: String(lease) };
    this.#index.set(nameOf(lease) + key, true);
    this.#leases.addKeys(lease, 1);
    return undefined;
  }

  detach(lease: bigint, key: string): void {
    if (this.#index.delete(nameOf(lease) + key)) this.#leases.addKeys(lease, -1);
  }

  keysOf(lease: bigint, limit = Infinity): string[] {
    const name = nameOf(lease);
    const end = prefixEnd(name);
    const keys: string[] = [];
    const cursor = this.#index.seek(name);
    for (; cursor.key !== undefined && cursor.key < end && keys.length < limit; cursor.next())
      keys.push(cursor.key.slice(name.length));
    return keys;
  }
}

function nameOf(lease: bigint): string {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64BE(lease);
  return binaryString(bytes);
}
