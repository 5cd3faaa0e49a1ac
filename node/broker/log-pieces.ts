/** Batches as pieces of a snapshot. */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { FILE_FAMILY } from '../storage/group-files.ts';
import type { SnapshotRow } from '../storage/row-store.ts';
import type { Frame } from './log/partition-log.ts';

export function encodePiece({ baseOffset, appendedAtMs, batch }: Frame): SnapshotRow {
  const writer = new ByteWriter(16 + batch.byteLength).u64(baseOffset).u64(appendedAtMs).raw(batch);
  return [FILE_FAMILY, writer.finish()];
}

/** Error: RangeError. */
export function decodePiece([, content]: SnapshotRow): Frame {
  const reader = new ByteReader(content);
  return { baseOffset: reader.u64(), appendedAtMs: reader.u64(), batch: reader.rest() };
}
