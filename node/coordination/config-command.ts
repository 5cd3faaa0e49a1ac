/**
 * Commands of the configuration as they stand in the log. Keys are binary strings. A version of
 * a kind never changes its meaning: to change one, add a version.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { Command } from '../raft/entry.ts';
import {
  MAX_CONFIG_KEY_BYTES,
  MAX_CONFIG_VALUE_BYTES,
  MAX_PURGED_ROWS,
  MAX_TRANSACTION_DEPTH,
  MAX_TRANSACTION_OPERATIONS,
} from './config-limits.ts';
import { CoordinationKind, encodeCommand, type WriteIdentity } from './coordination-command.ts';
import type { EventPosition } from './coordination-events.ts';

/** Keys from `start` up to but not including `end`; undefined: to the last one. */
export interface KeySpan {
  readonly start: string;
  readonly end: string | undefined;
}

/** How a comparison compares; numbers are those of the contract. */
export const ConfigComparator = { equal: 1, notEqual: 2, less: 3, greater: 4 } as const;
export type ConfigComparator = (typeof ConfigComparator)[keyof typeof ConfigComparator];

/** What entries are sorted by; numbers are those of the contract. */
export const ConfigSort = { key: 1, version: 2, createRevision: 3, modRevision: 4, value: 5 } as const;
export type ConfigSort = (typeof ConfigSort)[keyof typeof ConfigSort];

export type ComparisonTarget =
  | { readonly case: 'version' | 'createRevision' | 'modRevision'; readonly value: number }
  | { readonly case: 'value'; readonly value: Uint8Array }
  | { readonly case: 'lease'; readonly value: bigint };

/**
 * A condition on every key of a span; `isKey`: on one key, which need not be there;
 * `noneIsOne`: of a span without keys, on a key that is not there.
 */
export interface ConfigComparison {
  readonly span: KeySpan;
  readonly isKey: boolean;
  readonly noneIsOne?: boolean;
  readonly comparator: ConfigComparator;
  readonly target: ComparisonTarget;
}

/** What of a span is asked for. */
export interface ListOrder {
  readonly span: KeySpan;
  /** 0: all. */
  readonly limit: number;
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  readonly sortBy: ConfigSort;
  readonly isDescending: boolean;
}

export interface PutOperation {
  readonly case: 'put';
  readonly key: string;
  readonly value: Uint8Array;
  readonly lease: bigint;
  /** Revision of its last change, 0: it does not exist; undefined: whatever there is. */
  readonly ifModRevision: number | undefined;
  readonly returnPrevious: boolean;
  readonly keepValue: boolean;
  readonly keepLease: boolean;
}

export interface DeleteOperation {
  readonly case: 'delete';
  readonly span: KeySpan;
  /** Of a single key. */
  readonly ifModRevision: number | undefined;
  readonly returnPrevious: boolean;
}

export type ConfigOperation =
  | ({ readonly case: 'list' } & ListOrder)
  | PutOperation
  | DeleteOperation
  | { readonly case: 'transaction'; readonly transaction: ConfigTransaction };

/** Compare, then one of two lists of operations. */
export interface ConfigTransaction {
  readonly comparisons: readonly ConfigComparison[];
  readonly thenOperations: readonly ConfigOperation[];
  readonly elseOperations: readonly ConfigOperation[];
}

/** A transaction as proposed. */
export interface ConfigTransact {
  /** Of the node that encoded it; a transaction that grows beyond is refused. */
  readonly quotaBytes: number;
  readonly transaction: ConfigTransaction;
}

/** The span of one key. */
export function keySpan(key: string): KeySpan {
  return { start: key, end: `${key}\0` };
}

export function isOneKey({ start, end }: KeySpan): boolean {
  return end !== undefined && end.length === start.length + 1 && end === `${start}\0`;
}

export function encodeTransact(
  identity: WriteIdentity | undefined,
  { quotaBytes, transaction }: ConfigTransact,
): Command {
  return encodeCommand(CoordinationKind.configTransact, identity, (writer) => {
    writeTransaction(writer.u64(quotaBytes), transaction);
  });
}

/** Error: RangeError. */
export function readTransact(reader: ByteReader): ConfigTransact {
  const quotaBytes = reader.u64();
  const left = { operations: MAX_TRANSACTION_OPERATIONS };
  return { quotaBytes, transaction: readTransaction(reader, left, 1) };
}

/** Forgets history before a revision. */
export function encodeCompact(revision: number): Command {
  return encodeCommand(CoordinationKind.configCompact, undefined, (writer) => void writer.u64(revision));
}

/**
 * What is forgotten and to be removed: what the changes behind `after`, up to `to`, have replaced,
 * and those of them that are deletes. Passed over unless everything up to `after`, and nothing
 * else, was removed before.
 */
export interface ConfigPurge {
  readonly after: EventPosition;
  readonly to: EventPosition;
  readonly replaced: readonly EventPosition[];
  readonly deletes: readonly { readonly key: string; readonly position: EventPosition }[];
  /** That all of them count. */
  readonly bytes: number;
}

export function encodePurge({ after, to, replaced, deletes, bytes }: ConfigPurge): Command {
  const write = (writer: ByteWriter) => {
    writePosition(writer, after);
    writePosition(writer, to);
    writer.u64(bytes).u32(replaced.length).u32(deletes.length);
    for (const position of replaced) writePosition(writer, position);
    for (const { key, position } of deletes) {
      writer.latin1(key);
      writePosition(writer, position);
    }
  };
  return encodeCommand(CoordinationKind.configPurge, undefined, write, 64 + replaced.length * 12);
}

/** Error: RangeError. */
export function readPurge(reader: ByteReader): ConfigPurge {
  const [after, to, bytes] = [readPosition(reader), readPosition(reader), reader.u64()];
  const [replaced, deletes] = [reader.u32(), reader.u32()];
  if (replaced > MAX_PURGED_ROWS || deletes > MAX_PURGED_ROWS)
    throw new RangeError(`${replaced} changes and ${deletes} deletes to remove`);
  return {
    after,
    to,
    bytes,
    replaced: Array.from({ length: replaced }, () => readPosition(reader)),
    deletes: Array.from({ length: deletes }, () => ({
      key: reader.latin1(),
      position: readPosition(reader),
    })),
  };
}

function writePosition(writer: ByteWriter, { revision, number }: EventPosition): void {
  writer.u64(revision).u32(number);
}

function readPosition(reader: ByteReader): EventPosition {
  return { revision: reader.u64(), number: reader.u32() };
}

function writeTransaction(writer: ByteWriter, transaction: ConfigTransaction): void {
  writer.u32(transaction.comparisons.length);
  for (const comparison of transaction.comparisons) writeComparison(writer, comparison);
  for (const operations of [transaction.thenOperations, transaction.elseOperations]) {
    writer.u32(operations.length);
    for (const operation of operations) writeOperation(writer, operation);
  }
}

/** So many operations may still come. */
interface Left {
  operations: number;
}

function readTransaction(reader: ByteReader, left: Left, depth: number): ConfigTransaction {
  if (depth > MAX_TRANSACTION_DEPTH) throw new RangeError('transactions within each other too deep');
  const comparisons: ConfigComparison[] = [];
  for (let more = countOf(reader, left); more > 0; more--) comparisons.push(readComparison(reader));
  const thenOperations = readOperations(reader, left, depth);
  return { comparisons, thenOperations, elseOperations: readOperations(reader, left, depth) };
}

function readOperations(reader: ByteReader, left: Left, depth: number): ConfigOperation[] {
  const operations: ConfigOperation[] = [];
  for (let more = countOf(reader, left); more > 0; more--)
    operations.push(readOperation(reader, left, depth));
  return operations;
}

function countOf(reader: ByteReader, left: Left): number {
  const count = reader.u32();
  left.operations -= count;
  if (left.operations < 0) throw new RangeError('too many operations in a transaction');
  return count;
}

const TARGETS = ['version', 'createRevision', 'modRevision', 'value', 'lease'] as const;

function writeComparison(
  writer: ByteWriter,
  { span, isKey, noneIsOne = false, comparator, target }: ConfigComparison,
): void {
  writeSpan(writer, span);
  writer.u8(isKey ? 1 : 0).u8(comparator);
  // Beyond what those know that compare a span without keys otherwise.
  writer.u8(TARGETS.indexOf(target.case) + (noneIsOne ? TARGETS.length : 0));
  if (target.case === 'value') writer.bytes(target.value);
  else if (target.case === 'lease') writer.i64(target.value);
  else writer.u64(target.value);
}

function readComparison(reader: ByteReader): ConfigComparison {
  const span = readSpan(reader);
  const isKey = reader.u8() === 1;
  const comparator = oneOf(reader.u8(), 4, 'comparator') as ConfigComparator;
  const code = reader.u8();
  const noneIsOne = code >= TARGETS.length;
  const kind = TARGETS[noneIsOne ? code - TARGETS.length : code];
  if (kind === undefined) throw new RangeError('unknown target of a comparison');
  return { span, isKey, comparator, target: readTarget(reader, kind), ...(noneIsOne && { noneIsOne }) };
}

function readTarget(reader: ByteReader, kind: (typeof TARGETS)[number]): ComparisonTarget {
  if (kind === 'value') return { case: kind, value: Uint8Array.from(reader.bytes()) };
  if (kind === 'lease') return { case: kind, value: reader.i64() };
  return { case: kind, value: reader.u64() };
}

const OperationCode = { list: 1, put: 2, delete: 3, transaction: 4 } as const;

function writeOperation(writer: ByteWriter, operation: ConfigOperation): void {
  writer.u8(OperationCode[operation.case]);
  switch (operation.case) {
    case 'list':
      writeSpan(writer, operation.span);
      writer.u32(operation.limit).u8(operation.sortBy);
      writer.u8(flags(operation.keysOnly, operation.countOnly, operation.isDescending));
      break;
    case 'put':
      writePut(writer, operation);
      break;
    case 'delete':
      writeSpan(writer, operation.span);
      writer.u8(flags(operation.ifModRevision !== undefined, operation.returnPrevious));
      writer.u64(operation.ifModRevision ?? 0);
      break;
    case 'transaction':
      writeTransaction(writer, operation.transaction);
  }
}

function writePut(writer: ByteWriter, put: PutOperation): void {
  const { ifModRevision, returnPrevious, keepValue, keepLease } = put;
  writer.latin1(put.key).u8(flags(ifModRevision !== undefined, returnPrevious, keepValue, keepLease));
  writer
    .u64(ifModRevision ?? 0)
    .i64(put.lease)
    .bytes(put.value);
}

function readOperation(reader: ByteReader, left: Left, depth: number): ConfigOperation {
  const code = reader.u8();
  switch (code) {
    case OperationCode.list:
      return readList(reader);
    case OperationCode.put:
      return readPut(reader);
    case OperationCode.delete: {
      const span = readSpan(reader);
      const [hasRevision, returnPrevious] = readFlags(reader);
      const revision = reader.u64();
      return { case: 'delete', span, ifModRevision: hasRevision ? revision : undefined, returnPrevious };
    }
    case OperationCode.transaction:
      return { case: 'transaction', transaction: readTransaction(reader, left, depth + 1) };
  }
  throw new RangeError(`unknown operation ${code}`);
}

function readList(reader: ByteReader): ConfigOperation {
  const span = readSpan(reader);
  const limit = reader.u32();
  const sortBy = oneOf(reader.u8(), 5, 'order') as ConfigSort;
  const [keysOnly, countOnly, isDescending] = readFlags(reader);
  return { case: 'list', span, limit, sortBy, keysOnly, countOnly, isDescending };
}

function readPut(reader: ByteReader): PutOperation {
  const key = readKey(reader);
  if (key === '') throw new RangeError('a key is empty');
  const [hasRevision, returnPrevious, keepValue, keepLease] = readFlags(reader);
  const revision = reader.u64();
  const lease = reader.i64();
  const value = reader.bytes();
  if (value.length > MAX_CONFIG_VALUE_BYTES) throw new RangeError(`a value of ${value.length} bytes`);
  const ifModRevision = hasRevision ? revision : undefined;
  return { case: 'put', key, value, lease, ifModRevision, returnPrevious, keepValue, keepLease };
}

function writeSpan(writer: ByteWriter, span: KeySpan): void {
  const { start, end } = span;
  const kind = isOneKey(span) ? 1 : end === undefined ? 3 : 2;
  writer.u8(kind).latin1(start);
  if (kind === 2) writer.latin1(end!);
}

function readSpan(reader: ByteReader): KeySpan {
  const kind = oneOf(reader.u8(), 3, 'selection');
  const start = readKey(reader, 1);
  if (kind === 1) return keySpan(start);
  return { start, end: kind === 2 ? readKey(reader, 1) : undefined };
}

/** What is next behind the longest key is a byte longer. */
function readKey(reader: ByteReader, beyond = 0): string {
  const key = reader.latin1();
  if (key.length > MAX_CONFIG_KEY_BYTES + beyond) throw new RangeError(`a key of ${key.length} bytes`);
  return key;
}

function flags(first: boolean, second = false, third = false, fourth = false): number {
  return (first ? 1 : 0) | (second ? 2 : 0) | (third ? 4 : 0) | (fourth ? 8 : 0);
}

function readFlags(reader: ByteReader): [boolean, boolean, boolean, boolean] {
  const bits = reader.u8();
  return [(bits & 1) !== 0, (bits & 2) !== 0, (bits & 4) !== 0, (bits & 8) !== 0];
}

function oneOf(value: number, most: number, what: string): number {
  if (value >= 1 && value <= most) return value;
  throw new RangeError(`unknown ${what} ${value}`);
}
