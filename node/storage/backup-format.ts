/**
 * The blocks of a backup file, as node/docs/backup.md describes them. What a file has to be
 * for a restore is checked by `backup-reader.ts`.
 */
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { ByteReader, ByteWriter } from './byte-codec.ts';

/** First bytes of a backup file; then its version as u32. */
export const BACKUP_MAGIC = Buffer.from('HFBACKUP');
export const BACKUP_VERSION = 1;
export const PREAMBLE_BYTES = 12;
/** Type and length stand before a block's content, its checksum behind. */
export const BLOCK_HEAD_BYTES = 5;
export const BLOCK_TAIL_BYTES = 4;
/** More than any entry takes; a longer block is none. */
export const MAX_BLOCK_BYTES = 32 * 1024 * 1024;

/** Types of blocks; numbers are never reused. */
export const BlockType = { header: 1, entries: 2, fences: 3, partition: 4, trailer: 5 } as const;

/** Which partition: positions in the header's lists. */
export interface BackupPlace {
  readonly keyspace: number;
  readonly partition: number;
}

export interface BackupEntry {
  readonly key: Uint8Array;
  readonly version: number;
  /** In ms since 1970; undefined: never. */
  readonly expiresAtMs: number | undefined;
  readonly value: Uint8Array;
}

/** The greatest token that was accepted for a lock. */
export interface BackupFence {
  readonly lock: string;
  readonly token: number;
}

/** What is known of a partition when it is whole. */
export interface BackupPartition {
  readonly entries: number;
  readonly fences: number;
  readonly lastVersion: number;
  readonly asOfMs: number;
}

export interface BackupTotals {
  readonly blocks: number;
  readonly partitions: number;
  readonly entries: number;
  readonly fences: number;
}

const hash = z.int().min(0).max(0xffff_ffff);
const headerSchema = z.object({
  cluster_id: z.string(),
  time_ms: z.int().min(0),
  /** Of the coordination tree; as text, like every integer of 64 bits. */
  tree_revision: z.string().regex(/^\d{1,16}$/),
  keyspaces: z.array(
    z.object({
      name: z.string(),
      id: z.string(),
      mode: z.literal('raft'),
      replication: z.int().min(1),
      max_key_bytes: z.int().min(1),
      max_value_bytes: z.int().min(1),
      created_at_ms: z.int().min(0),
      partitions: z.array(z.object({ first_hash: hash, last_hash: hash })).min(1),
    }),
  ),
});

/** What a file says of itself. */
export type BackupHeader = z.infer<typeof headerSchema>;

export function encodePreamble(): Buffer {
  return new ByteWriter(PREAMBLE_BYTES).raw(BACKUP_MAGIC).u32(BACKUP_VERSION).finish();
}

/** A block with its length and checksum. */
export function encodeBlock(type: number, content: Uint8Array): Buffer {
  const writer = new ByteWriter(BLOCK_HEAD_BYTES + content.byteLength + BLOCK_TAIL_BYTES);
  writer.u8(type).bytes(content);
  return writer.u32(crc32(writer.finish())).finish();
}

export function encodeHeader(header: BackupHeader): Buffer {
  return Buffer.from(JSON.stringify(header));
}

export function encodeEntries(place: BackupPlace, entries: readonly BackupEntry[]): Buffer {
  const writer = placed(place);
  for (const { key, version, expiresAtMs, value } of entries) {
    writer
      .u8(expiresAtMs === undefined ? 0 : 1)
      .bytes(key)
      .u64(version);
    if (expiresAtMs !== undefined) writer.u64(expiresAtMs);
    writer.bytes(value);
  }
  return writer.finish();
}

export function encodeFences(place: BackupPlace, fences: readonly BackupFence[]): Buffer {
  const writer = placed(place);
  for (const { lock, token } of fences) writer.bytes(Buffer.from(lock)).u64(token);
  return writer.finish();
}

export function encodePartition(
  place: BackupPlace,
  { entries, fences, lastVersion, asOfMs }: BackupPartition,
): Buffer {
  return placed(place).u64(entries).u64(fences).u64(lastVersion).u64(asOfMs).finish();
}

/** `digest`: SHA-256 of everything before this block. */
export function encodeTrailer(totals: BackupTotals, digest: Uint8Array): Buffer {
  const { blocks, partitions, entries, fences } = totals;
  return new ByteWriter(64).u64(blocks).u64(partitions).u64(entries).u64(fences).raw(digest).finish();
}

/** Error: RangeError. */
export function decodeHeader(content: Buffer): BackupHeader {
  try {
    return headerSchema.parse(JSON.parse(content.toString()));
  } catch (cause) {
    throw new RangeError('the header is none', { cause });
  }
}

/** Error: RangeError. */
export function decodePlace(reader: ByteReader): BackupPlace {
  return { keyspace: reader.u32(), partition: reader.u32() };
}

/** Error: RangeError. */
export function decodeEntries(reader: ByteReader): BackupEntry[] {
  const entries: BackupEntry[] = [];
  while (!reader.done) {
    const flags = reader.u8();
    if (flags > 1) throw new RangeError(`an entry with flags ${flags}`);
    const key = reader.bytes();
    const version = reader.u64();
    const expiresAtMs = flags === 1 ? reader.u64() : undefined;
    entries.push({ key, version, expiresAtMs, value: reader.bytes() });
  }
  return entries;
}

/** Error: RangeError. */
export function decodeFences(reader: ByteReader): BackupFence[] {
  const fences: BackupFence[] = [];
  while (!reader.done) fences.push({ lock: reader.bytes().toString('utf8'), token: reader.u64() });
  return fences;
}

/** Error: RangeError. */
export function decodePartition(reader: ByteReader): BackupPartition {
  const [entries, fences, lastVersion, asOfMs] = [reader.u64(), reader.u64(), reader.u64(), reader.u64()];
  return { entries, fences, lastVersion, asOfMs };
}

/** Error: RangeError. */
export function decodeTrailer(reader: ByteReader): { totals: BackupTotals; digest: Buffer } {
  const [blocks, partitions, entries, fences] = [reader.u64(), reader.u64(), reader.u64(), reader.u64()];
  return { totals: { blocks, partitions, entries, fences }, digest: reader.raw(32) };
}

function placed({ keyspace, partition }: BackupPlace): ByteWriter {
  return new ByteWriter(4096).u32(keyspace).u32(partition);
}
