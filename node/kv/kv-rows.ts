/**
 * The rows of a key-value partition.
 *
 *   d key              the value with its version and expiry
 *   x expiry key       index of what expires when; may be stale, the data row decides
 *   s client           what is remembered of a client's writes
 *   f lock             greatest fencing token accepted
 *   m                  the partition's counter of versions
 */
import { ByteReader, ByteWriter, asBuffer, readU64, writeU64 } from '../storage/byte-codec.ts';
import { RowKeyMaker, binaryString, groupPrefix, type RowKey } from '../storage/row-key.ts';
import { ROW_HEADER_BYTES, type LiveRow, type RowStore } from '../storage/row-store.ts';

/** A value as kept. */
export interface StoredValue {
  readonly version: number;
  /** Log time at which it ends, in ms since 1970; undefined: never. */
  readonly expiresAtMs: number | undefined;
  readonly value: Uint8Array;
}

/** First character of a row's name within its group; rows are in this order. */
export const RowFamily = { data: 'd', fence: 'f', versions: 'm' } as const;

const VALUE_FORMAT = 1;
const EXPIRES_FLAG = 1;

/** Names the rows of one partition. */
export class KvRowKeys {
  readonly isFirstGeneration: boolean;
  readonly #prefix: string;
  readonly #data: RowKeyMaker;

  constructor(group: number, generation: number) {
    this.isFirstGeneration = generation === 0;
    this.#prefix = groupPrefix(group, generation);
    this.#data = new RowKeyMaker(this.#prefix + RowFamily.data);
  }

  data(key: Uint8Array): RowKey {
    return this.#data.of(key);
  }

  /** The user's key of a data row. */
  keyOfData(row: RowKey): Buffer {
    return Buffer.from(row.slice(this.#prefix.length + 1), 'latin1');
  }

  expiry(expiresAtMs: number, key: Uint8Array): RowKey {
    return this.expiryBefore(expiresAtMs) + binaryString(key);
  }

  /** Where the index of what expires at `expiresAtMs` or later begins. */
  expiryBefore(expiresAtMs: number): RowKey {
    const stamp = Buffer.alloc(8);
    stamp.writeBigUInt64BE(BigInt(expiresAtMs));
    return `${this.#prefix}x${stamp.toString('latin1')}`;
  }

  /** Reads an index row's key back. */
  expired(row: RowKey): { expiresAtMs: number; key: Buffer } {
    const bytes = Buffer.from(row.slice(this.#prefix.length + 1), 'latin1');
    return { expiresAtMs: Number(bytes.readBigUInt64BE()), key: bytes.subarray(8) };
  }

  client(clientId: Uint8Array): RowKey {
    return `${this.#prefix}s${binaryString(clientId)}`;
  }

  /** The client id of a client row. */
  clientOf(row: RowKey): Buffer {
    return Buffer.from(row.slice(this.#prefix.length + 1), 'latin1');
  }

  /** First and last bound of all client rows. */
  clients(): [RowKey, RowKey] {
    return [`${this.#prefix}s`, `${this.#prefix}t`];
  }

  fence(lock: string): RowKey {
    return `${this.#prefix}${RowFamily.fence}${Buffer.from(lock).toString('latin1')}`;
  }

  versions(): RowKey {
    return this.#prefix + RowFamily.versions;
  }
}

/** A value as a row of the store. */
export function valueRow(
  rows: Pick<RowStore, 'newRow'>,
  version: number,
  expiresAtMs: number | undefined,
  value: Uint8Array,
): Buffer {
  const header = expiresAtMs === undefined ? 10 : 18;
  const row = rows.newRow(header + value.byteLength);
  row[ROW_HEADER_BYTES] = VALUE_FORMAT;
  row[ROW_HEADER_BYTES + 1] = expiresAtMs === undefined ? 0 : EXPIRES_FLAG;
  writeU64(row, version, ROW_HEADER_BYTES + 2);
  if (expiresAtMs !== undefined) writeU64(row, expiresAtMs, ROW_HEADER_BYTES + 10);
  row.set(value, ROW_HEADER_BYTES + header);
  return row;
}

/** The value is a view of the row. */
export function decodeValue(content: Uint8Array): StoredValue {
  const row = asBuffer(content);
  if (row[0] !== VALUE_FORMAT) throw new RangeError(`value row of unknown format ${row[0]}`);
  const expires = (row[1]! & EXPIRES_FLAG) !== 0;
  return {
    version: readU64(row, 2),
    expiresAtMs: expires ? readU64(row, 10) : undefined,
    value: row.subarray(expires ? 18 : 10),
  };
}

/** Counts the versions that a partition has given out. */
export class VersionCounter implements LiveRow {
  #last: number;

  constructor(last: number) {
    this.#last = last;
  }

  static decode(content: Uint8Array): VersionCounter {
    return new VersionCounter(new ByteReader(content).u64());
  }

  /** The last version given out; 0: none. */
  get last(): number {
    return this.#last;
  }

  next(): number {
    return ++this.#last;
  }

  encode(): Uint8Array {
    return new ByteWriter(8).u64(this.#last).finish();
  }
}
