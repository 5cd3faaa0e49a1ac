import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { LiveRow } from '../storage/row-store.ts';

/** Before the first compaction. */
export const FIRST_EPOCH = 0;

/** What a partition's log holds, as a row: its files must hold it too, and may hold more. */
export class PartitionBounds implements LiveRow {
  /** First offset that can be read. */
  start = 0;
  /** Offset that the next record will get. */
  end = 0;
  /** Of the last compaction. */
  epoch = FIRST_EPOCH;
  /** Where it ended. */
  compactedTo = 0;

  encode(): Uint8Array {
    return new ByteWriter(32).u64(this.start).u64(this.end).u64(this.epoch).u64(this.compactedTo).finish();
  }

  static decode(content: Uint8Array): PartitionBounds {
    const reader = new ByteReader(content);
    const bounds = new PartitionBounds();
    bounds.start = reader.u64();
    bounds.end = reader.u64();
    bounds.epoch = reader.u64();
    bounds.compactedTo = reader.u64();
    return bounds;
  }
}
