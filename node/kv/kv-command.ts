/**
 * Commands of a key-value partition as they stand in its log. A version of a kind
 * never changes its meaning: to change one, add a version.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { Command } from '../raft/entry.ts';
import type { RowKey } from '../storage/row-key.ts';

/** Kinds of commands; numbers are never reused. */
export const CommandKind = { mutate: 1, transact: 2, expireRows: 3, expireClients: 4, restore: 5 } as const;

/** How a mutation writes; numbers are never reused. */
export const MutationKind = {
  put: 1,
  create: 2,
  setIfVersion: 3,
  setIfValue: 4,
  increment: 5,
  delete: 6,
  deleteIfVersion: 7,
} as const;
export type MutationKind = (typeof MutationKind)[keyof typeof MutationKind];

/** A write of one key. */
export interface MutationCommand {
  readonly kind: MutationKind;
  readonly key: Uint8Array;
  /** New value of put, create and set. */
  readonly value: Uint8Array;
  /** Time to live; undefined: for ever (increment: as it was). */
  readonly ttlMs: number | undefined;
  /** Of setIfVersion and deleteIfVersion. */
  readonly expectedVersion: number;
  /** Of setIfValue. */
  readonly expectedValue: Uint8Array;
  /** Of increment. */
  readonly delta: bigint;
}

/** Identity of a write that is applied once. */
export interface WriteIdentity {
  /** 16 bytes. */
  readonly clientId: Uint8Array;
  readonly sequence: number;
  readonly ackedBelow: number;
  readonly open: boolean;
}

/** Refuses a write of a former lock holder. */
export interface WriteFence {
  readonly lock: string;
  readonly token: number;
}

/** What comes with every write. */
export interface WriteContext {
  readonly identity: WriteIdentity | undefined;
  readonly fence: WriteFence | undefined;
}

/** How a comparison compares; numbers are those of the contract. */
export const Comparator = { equal: 1, notEqual: 2, less: 3, greater: 4 } as const;
export type Comparator = (typeof Comparator)[keyof typeof Comparator];

export interface ComparisonCommand {
  readonly key: Uint8Array;
  readonly comparator: Comparator;
  readonly target:
    | { readonly case: 'version'; readonly value: number }
    | { readonly case: 'value'; readonly value: Uint8Array }
    | { readonly case: 'exists'; readonly value: boolean };
}

export type OperationCommand =
  | { readonly case: 'get'; readonly key: Uint8Array }
  | { readonly case: 'mutation'; readonly mutation: MutationCommand };

export interface TransactCommand {
  readonly comparisons: readonly ComparisonCommand[];
  readonly thenOperations: readonly OperationCommand[];
  readonly elseOperations: readonly OperationCommand[];
}

/** A row whose time is up, as found in the expiry index. */
export interface ExpiredRow {
  readonly expiresAtMs: number;
  readonly key: Uint8Array;
}

const VERSION = 1;
const NO_BYTES = new Uint8Array(0);

/** A mutation with its context; `row` is the name of the key's row, for whoever has it at hand. */
export interface DecodedMutate {
  readonly context: WriteContext;
  readonly mutation: MutationCommand;
  readonly row?: RowKey | undefined;
}

export function encodeMutate(context: WriteContext, mutation: MutationCommand): Command {
  const writer = new ByteWriter(
    96 + mutation.key.byteLength + mutation.value.byteLength + mutation.expectedValue.byteLength,
  );
  writeContext(writer, context);
  writeMutation(writer, mutation);
  return { kind: CommandKind.mutate, version: VERSION, bytes: writer.finish() };
}

export function encodeTransact(context: WriteContext, transact: TransactCommand): Command {
  const writer = new ByteWriter(1024);
  writeContext(writer, context);
  writer.u32(transact.comparisons.length);
  for (const comparison of transact.comparisons) writeComparison(writer, comparison);
  for (const operations of [transact.thenOperations, transact.elseOperations]) {
    writer.u32(operations.length);
    for (const operation of operations) writeOperation(writer, operation);
  }
  return { kind: CommandKind.transact, version: VERSION, bytes: writer.finish() };
}

export function encodeExpireRows(rows: readonly ExpiredRow[]): Command {
  const writer = new ByteWriter(1024).u32(rows.length);
  for (const row of rows) writer.u64(row.expiresAtMs).bytes(row.key);
  return { kind: CommandKind.expireRows, version: VERSION, bytes: writer.finish() };
}

export function encodeExpireClients(clientIds: readonly Uint8Array[]): Command {
  const writer = new ByteWriter(1024).u32(clientIds.length);
  for (const clientId of clientIds) writer.raw(clientId);
  return { kind: CommandKind.expireClients, version: VERSION, bytes: writer.finish() };
}

export function decodeMutate(bytes: Uint8Array): DecodedMutate {
  const reader = new ByteReader(bytes);
  return { context: readContext(reader), mutation: readMutation(reader) };
}

export function decodeTransact(bytes: Uint8Array): { context: WriteContext; transact: TransactCommand } {
  const reader = new ByteReader(bytes);
  const context = readContext(reader);
  const comparisons = readMany(reader, readComparison);
  const thenOperations = readMany(reader, readOperation);
  return {
    context,
    transact: { comparisons, thenOperations, elseOperations: readMany(reader, readOperation) },
  };
}

export function decodeExpireRows(bytes: Uint8Array): ExpiredRow[] {
  return readMany(new ByteReader(bytes), (reader) => ({ expiresAtMs: reader.u64(), key: reader.bytes() }));
}

export function decodeExpireClients(bytes: Uint8Array): Buffer[] {
  return readMany(new ByteReader(bytes), (reader) => reader.raw(16));
}

function writeContext(writer: ByteWriter, { identity, fence }: WriteContext): void {
  writer.u8((identity === undefined ? 0 : 1) | (fence === undefined ? 0 : 2) | (identity?.open ? 4 : 0));
  if (identity !== undefined) writer.raw(identity.clientId).u64(identity.sequence).u64(identity.ackedBelow);
  if (fence !== undefined) writer.bytes(Buffer.from(fence.lock)).u64(fence.token);
}

function readContext(reader: ByteReader): WriteContext {
  const flags = reader.u8();
  const identity =
    flags & 1
      ? {
          clientId: reader.raw(16),
          sequence: reader.u64(),
          ackedBelow: reader.u64(),
          open: (flags & 4) !== 0,
        }
      : undefined;
  const fence = flags & 2 ? { lock: reader.bytes().toString('utf8'), token: reader.u64() } : undefined;
  return { identity, fence };
}

function writeMutation(writer: ByteWriter, mutation: MutationCommand): void {
  writer.u8(mutation.kind).bytes(mutation.key);
  writer.u8(mutation.ttlMs === undefined ? 0 : 1);
  if (mutation.ttlMs !== undefined) writer.u64(mutation.ttlMs);
  switch (mutation.kind) {
    case MutationKind.setIfVersion:
    case MutationKind.deleteIfVersion:
      writer.u64(mutation.expectedVersion);
      break;
    case MutationKind.setIfValue:
      writer.bytes(mutation.expectedValue);
      break;
    case MutationKind.increment:
      writer.i64(mutation.delta);
  }
  writer.bytes(mutation.value);
}

function readMutation(reader: ByteReader): MutationCommand {
  const kind = reader.u8() as MutationKind;
  const key = reader.bytes();
  const ttlMs = reader.u8() === 1 ? reader.u64() : undefined;
  const hasVersion = kind === MutationKind.setIfVersion || kind === MutationKind.deleteIfVersion;
  const expectedVersion = hasVersion ? reader.u64() : 0;
  const expectedValue = kind === MutationKind.setIfValue ? reader.bytes() : NO_BYTES;
  const delta = kind === MutationKind.increment ? reader.i64() : 0n;
  return { kind, key, ttlMs, expectedVersion, expectedValue, delta, value: reader.bytes() };
}

function writeComparison(writer: ByteWriter, { key, comparator, target }: ComparisonCommand): void {
  writer.bytes(key).u8(comparator);
  if (target.case === 'version') writer.u8(1).u64(target.value);
  else if (target.case === 'value') writer.u8(2).bytes(target.value);
  else writer.u8(target.value ? 4 : 3);
}

function readComparison(reader: ByteReader): ComparisonCommand {
  const key = reader.bytes();
  const comparator = reader.u8() as Comparator;
  const kind = reader.u8();
  if (kind === 1) return { key, comparator, target: { case: 'version', value: reader.u64() } };
  if (kind === 2) return { key, comparator, target: { case: 'value', value: reader.bytes() } };
  return { key, comparator, target: { case: 'exists', value: kind === 4 } };
}

function writeOperation(writer: ByteWriter, operation: OperationCommand): void {
  if (operation.case === 'get') writer.u8(1).bytes(operation.key);
  else writeMutation(writer.u8(2), operation.mutation);
}

function readOperation(reader: ByteReader): OperationCommand {
  return reader.u8() === 1
    ? { case: 'get', key: reader.bytes() }
    : { case: 'mutation', mutation: readMutation(reader) };
}

function readMany<T>(reader: ByteReader, read: (reader: ByteReader) => T): T[] {
  const items: T[] = [];
  for (let left = reader.u32(); left > 0; left--) items.push(read(reader));
  return items;
}
