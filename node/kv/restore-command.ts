/** The command that puts rows of a backup into a partition that is being restored. */
import type { Command } from '../raft/entry.ts';
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { CommandKind, type WriteFence } from './kv-command.ts';
import type { StoredValue } from './kv-rows.ts';

/** An entry with the version and the end that it is to have. */
export interface RestoredEntry {
  readonly key: Uint8Array;
  readonly stored: StoredValue;
}

export interface RestoreCommand {
  readonly entries: readonly RestoredEntry[];
  readonly fences: readonly WriteFence[];
  /** The partition takes no more rows of a backup afterwards. */
  readonly isEnd: boolean;
}

const VERSION = 1;

export function encodeRestore({ entries, fences, isEnd }: RestoreCommand): Command {
  const writer = new ByteWriter(1024).u8(isEnd ? 1 : 0).u32(entries.length);
  for (const { key, stored } of entries) {
    const { version, expiresAtMs, value } = stored;
    writer
      .bytes(key)
      .u64(version)
      .u8(expiresAtMs === undefined ? 0 : 1);
    if (expiresAtMs !== undefined) writer.u64(expiresAtMs);
    writer.bytes(value);
  }
  writer.u32(fences.length);
  for (const { lock, token } of fences) writer.bytes(Buffer.from(lock)).u64(token);
  return { kind: CommandKind.restore, version: VERSION, bytes: writer.finish() };
}

/** Error: RangeError. */
export function decodeRestore(bytes: Uint8Array): RestoreCommand {
  const reader = new ByteReader(bytes);
  const isEnd = reader.u8() === 1;
  const entries: RestoredEntry[] = [];
  for (let left = reader.u32(); left > 0; left--) entries.push(readEntry(reader));
  const fences: WriteFence[] = [];
  for (let left = reader.u32(); left > 0; left--)
    fences.push({ lock: reader.bytes().toString('utf8'), token: reader.u64() });
  return { entries, fences, isEnd };
}

function readEntry(reader: ByteReader): RestoredEntry {
  const key = reader.bytes();
  const version = reader.u64();
  const expiresAtMs = reader.u8() === 1 ? reader.u64() : undefined;
  return { key, stored: { version, expiresAtMs, value: reader.bytes() } };
}
