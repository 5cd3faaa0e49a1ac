/** The commands of the coordination tree as they stand in group 0's log. */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { Command } from '../raft/entry.ts';

/** Numbers are never reused. */
export const TreeCommandKind = { transact: 1, raiseRevision: 2 } as const;

/** What a restore may raise the revision to; there is room for as many changes above. */
export const MAX_RAISED_REVISION = 2 ** 52;

/** A condition: the key was last changed at this revision; 0: it does not exist. */
export interface TreeComparison {
  readonly key: string;
  readonly modRevision: number;
}

/** A change; a value of undefined deletes. */
export interface TreeChange {
  readonly key: string;
  readonly value: Uint8Array | undefined;
}

/** Compare, then change all or nothing. */
export interface TreeTransaction {
  readonly comparisons: readonly TreeComparison[];
  readonly changes: readonly TreeChange[];
}

/** Result of a transaction. */
export interface TreeOutcome {
  readonly succeeded: boolean;
  /** The tree's revision afterwards. */
  readonly revision: number;
}

export function encodeOutcome({ succeeded, revision }: TreeOutcome): Uint8Array {
  return new ByteWriter(9)
    .u8(succeeded ? 1 : 0)
    .u64(revision)
    .finish();
}

/** Error: RangeError. */
export function decodeOutcome(bytes: Uint8Array): TreeOutcome {
  const reader = new ByteReader(bytes);
  return { succeeded: reader.u8() === 1, revision: reader.u64() };
}

export function encodeTransaction(transaction: TreeTransaction): Command {
  const writer = new ByteWriter().u32(transaction.comparisons.length);
  for (const { key, modRevision } of transaction.comparisons) writer.bytes(Buffer.from(key)).u64(modRevision);
  writer.u32(transaction.changes.length);
  for (const { key, value } of transaction.changes) {
    writer.bytes(Buffer.from(key)).u8(value === undefined ? 0 : 1);
    if (value !== undefined) writer.bytes(value);
  }
  return { kind: TreeCommandKind.transact, version: 1, bytes: writer.finish() };
}

/** Has every later change a revision above this one. */
export function encodeRaiseRevision(revision: number): Command {
  return { kind: TreeCommandKind.raiseRevision, version: 1, bytes: new ByteWriter(8).u64(revision).finish() };
}

/** Error: RangeError. */
export function decodeRaiseRevision(bytes: Uint8Array): number {
  const revision = new ByteReader(bytes).u64();
  if (revision > MAX_RAISED_REVISION) throw new RangeError(`a revision of ${revision}`);
  return revision;
}

export function decodeTransaction(bytes: Uint8Array): TreeTransaction {
  const reader = new ByteReader(bytes);
  const comparisons: TreeComparison[] = [];
  for (let left = reader.u32(); left > 0; left--) {
    comparisons.push({ key: reader.bytes().toString('utf8'), modRevision: reader.u64() });
  }
  const changes: TreeChange[] = [];
  for (let left = reader.u32(); left > 0; left--) {
    const key = reader.bytes().toString('utf8');
    changes.push({ key, value: reader.u8() === 1 ? Uint8Array.from(reader.bytes()) : undefined });
  }
  return { comparisons, changes };
}
