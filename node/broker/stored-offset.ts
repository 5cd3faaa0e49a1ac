import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { LiveRow } from '../storage/row-store.ts';
import type { OffsetState } from './partition-outcome.ts';

/** Where a group is in a partition, as a row. */
export class StoredOffset implements LiveRow {
  /** The next record to read; -1: none was stored. */
  offset = -1;
  /** Greatest that was seen. */
  generation = 0;
  metadata = '';
  /** Log time of the last commit. */
  storedAtMs = 0;

  get state(): OffsetState {
    const { offset, metadata, generation } = this;
    return { case: 'offset', offset: offset < 0 ? undefined : offset, metadata, generation };
  }

  encode(): Uint8Array {
    const writer = new ByteWriter(40)
      .u64(this.offset + 1)
      .u64(this.generation)
      .u64(this.storedAtMs);
    return writer.bytes(Buffer.from(this.metadata)).finish();
  }

  static decode(content: Uint8Array): StoredOffset {
    const reader = new ByteReader(content);
    const stored = new StoredOffset();
    stored.offset = reader.u64() - 1;
    stored.generation = reader.u64();
    stored.storedAtMs = reader.u64();
    stored.metadata = reader.bytes().toString();
    return stored;
  }
}
