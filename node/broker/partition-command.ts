/**
 * Commands of a partition as they stand in its log, and what they result in. An append is the
 * batch as its producer sent it, and nothing else: the same bytes go into the log, into the
 * segment and to readers.
 */
import type { Command } from '../raft/entry.ts';
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';

/** Kinds of commands; numbers are never reused, and what one means never changes. */
export const PartitionCommandKind = {
  append: 1,
  commitOffset: 2,
  claimOffset: 3,
  setOffset: 4,
  deleteOffset: 5,
  trim: 6,
  compact: 7,
  forgetProducers: 8,
} as const;

export const COMMAND_VERSION = 1;

/** A member stores where it is. */
export interface CommitOffset {
  readonly group: string;
  readonly offset: number;
  /** In which it was given the partition; 0: of a group without members. */
  readonly generation: number;
  readonly metadata: string;
}

/** A member that was given the partition asks where to begin: nobody before it commits any more. Generation 0: only asks. */
export interface ClaimOffset {
  readonly group: string;
  readonly generation: number;
}

/** Names a group whose offset goes. */
export interface DeleteOffset {
  readonly group: string;
}

/** What is before `start` can be read no more. */
export interface Trim {
  readonly start: number;
}

/** Of each key the newest record before `upTo` stays. */
export interface Compact {
  readonly upTo: number;
  /** One more than the last one. */
  readonly epoch: number;
  /** Deletions that were appended before go as well. */
  readonly dropDeletesBeforeMs: number;
}

/** Producers that were silent since then are forgotten. */
export interface ForgetProducers {
  readonly silentSinceMs: number;
  readonly producers: readonly number[];
}

export type OffsetBody = CommitOffset | ClaimOffset | DeleteOffset;

/** The batch, not copied. */
export function encodeAppend(batch: Uint8Array): Command {
  return { kind: PartitionCommandKind.append, version: COMMAND_VERSION, bytes: batch };
}

export function encodeCommit({ group, offset, generation, metadata }: CommitOffset): Command {
  const text = Buffer.from(metadata);
  const write = new ByteWriter(48 + text.length).latin1(group).u64(offset).u64(generation).bytes(text);
  return command(PartitionCommandKind.commitOffset, write);
}

/** As a commit, whatever generation was seen: for people, while the group has no members. */
export function encodeSetOffset({ group, offset }: Pick<CommitOffset, 'group' | 'offset'>): Command {
  const write = new ByteWriter(48).latin1(group).u64(offset);
  return command(PartitionCommandKind.setOffset, write);
}

export function encodeClaim({ group, generation }: ClaimOffset): Command {
  return command(PartitionCommandKind.claimOffset, new ByteWriter(48).latin1(group).u64(generation));
}

export function encodeDeleteOffset({ group }: DeleteOffset): Command {
  return command(PartitionCommandKind.deleteOffset, new ByteWriter(40).latin1(group));
}

export function encodeTrim({ start }: Trim): Command {
  return command(PartitionCommandKind.trim, new ByteWriter(8).u64(start));
}

export function encodeCompact({ upTo, epoch, dropDeletesBeforeMs }: Compact): Command {
  return command(
    PartitionCommandKind.compact,
    new ByteWriter(24).u64(upTo).u64(epoch).u64(dropDeletesBeforeMs),
  );
}

export function encodeForgetProducers({ silentSinceMs, producers }: ForgetProducers): Command {
  const writer = new ByteWriter(16 + 8 * producers.length).u64(silentSinceMs).u32(producers.length);
  for (const producer of producers) writer.u64(producer);
  return command(PartitionCommandKind.forgetProducers, writer);
}

/** Error of all that follow: RangeError. */
export function decodeCommit(bytes: Uint8Array): CommitOffset {
  return whole(bytes, (reader) => ({
    group: reader.latin1(),
    offset: reader.u64(),
    generation: reader.u64(),
    metadata: reader.bytes().toString(),
  }));
}

export function decodeSetOffset(bytes: Uint8Array): Pick<CommitOffset, 'group' | 'offset'> {
  return whole(bytes, (reader) => ({ group: reader.latin1(), offset: reader.u64() }));
}

export function decodeClaim(bytes: Uint8Array): ClaimOffset {
  return whole(bytes, (reader) => ({ group: reader.latin1(), generation: reader.u64() }));
}

export function decodeDeleteOffset(bytes: Uint8Array): DeleteOffset {
  return whole(bytes, (reader) => ({ group: reader.latin1() }));
}

export function decodeTrim(bytes: Uint8Array): Trim {
  return whole(bytes, (reader) => ({ start: reader.u64() }));
}

export function decodeCompact(bytes: Uint8Array): Compact {
  return whole(bytes, (reader) => ({
    upTo: reader.u64(),
    epoch: reader.u64(),
    dropDeletesBeforeMs: reader.u64(),
  }));
}

export function decodeForgetProducers(bytes: Uint8Array): ForgetProducers {
  return whole(bytes, (reader) => {
    const silentSinceMs = reader.u64();
    const producers = Array.from({ length: reader.u32() }, () => reader.u64());
    return { silentSinceMs, producers };
  });
}

function command(kind: number, writer: ByteWriter): Command {
  return { kind, version: COMMAND_VERSION, bytes: writer.finish() };
}

function whole<T>(bytes: Uint8Array, read: (reader: ByteReader) => T): T {
  const reader = new ByteReader(bytes);
  const body = read(reader);
  if (!reader.done) throw new RangeError('a command of a partition goes on behind its end');
  return body;
}
