/** What transactions of the configuration result in, and its bytes: kept for a repeat, or on the way to the node that was asked. */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { ConfigEntry } from './coordination-events.ts';

export interface ListResult {
  readonly case: 'list';
  readonly entries: readonly ConfigEntry[];
  /** There are others than those shown. */
  readonly more: boolean;
  /** How many are selected; undefined: they were not counted. */
  readonly count: number | undefined;
}

export interface PutResult {
  readonly case: 'put';
  /** If it was asked for; undefined: there was none. */
  readonly previous: ConfigEntry | undefined;
}

export interface DeleteResult {
  readonly case: 'delete';
  readonly deleted: number;
  /** If they were asked for. */
  readonly previous: readonly ConfigEntry[];
}

export interface TransactionResult {
  readonly case: 'transaction';
  readonly succeeded: boolean;
  readonly results: readonly OperationResult[];
}

export type OperationResult = ListResult | PutResult | DeleteResult | TransactionResult;

export interface TransactOutcome extends TransactionResult {
  /** Of the change; of the tree, if nothing was changed. */
  readonly revision: number;
}

const Code = { list: 1, put: 2, delete: 3, transaction: 4 } as const;

export function encodeTransactOutcome({ revision, ...result }: TransactOutcome): Uint8Array {
  const writer = new ByteWriter(32).u64(revision);
  writeResult(writer, result);
  return writer.finish();
}

/** Error: RangeError. */
export function decodeTransactOutcome(bytes: Uint8Array): TransactOutcome {
  const reader = new ByteReader(bytes);
  const revision = reader.u64();
  const result = readResult(reader);
  if (result.case !== 'transaction') throw new RangeError('an outcome that is of no transaction');
  return { ...result, revision };
}

function writeResult(writer: ByteWriter, result: OperationResult): void {
  writer.u8(Code[result.case]);
  switch (result.case) {
    case 'list':
      writer.u8((result.more ? 1 : 0) | (result.count === undefined ? 0 : 2)).u64(result.count ?? 0);
      return writeEntries(writer, result.entries);
    case 'put':
      return writeEntries(writer, result.previous === undefined ? [] : [result.previous]);
    case 'delete':
      writer.u64(result.deleted);
      return writeEntries(writer, result.previous);
    case 'transaction':
      writer.u8(result.succeeded ? 1 : 0).u32(result.results.length);
      for (const inner of result.results) writeResult(writer, inner);
  }
}

function readResult(reader: ByteReader): OperationResult {
  const code = reader.u8();
  switch (code) {
    case Code.list: {
      const bits = reader.u8();
      const count = reader.u64();
      const entries = readEntries(reader);
      return { case: 'list', entries, more: (bits & 1) !== 0, count: bits & 2 ? count : undefined };
    }
    case Code.put:
      return { case: 'put', previous: readEntries(reader)[0] };
    case Code.delete:
      return { case: 'delete', deleted: reader.u64(), previous: readEntries(reader) };
    case Code.transaction: {
      const succeeded = reader.u8() === 1;
      const results = Array.from({ length: reader.u32() }, () => readResult(reader));
      return { case: 'transaction', succeeded, results };
    }
  }
  throw new RangeError(`result of unknown kind ${code}`);
}

function writeEntries(writer: ByteWriter, entries: readonly ConfigEntry[]): void {
  writer.u32(entries.length);
  for (const { key, value, createRevision, modRevision, version, lease } of entries) {
    writer.bytes(key).u64(createRevision).u64(modRevision);
    writer.u64(version).i64(lease).bytes(value);
  }
}

function readEntries(reader: ByteReader): ConfigEntry[] {
  return Array.from({ length: reader.u32() }, () => {
    const key = Uint8Array.from(reader.bytes());
    const [createRevision, modRevision, version] = [reader.u64(), reader.u64(), reader.u64()];
    const lease = reader.i64();
    return { key, createRevision, modRevision, version, lease, value: Uint8Array.from(reader.bytes()) };
  });
}
