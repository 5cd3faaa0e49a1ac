/**
 * Reads a backup file and believes nothing: every checksum, every count and the order of
 * everything is compared. What is given out before the end may belong to a file that is not
 * whole; only who has read all of it knows that it is.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import {
  BACKUP_MAGIC,
  BACKUP_VERSION,
  BLOCK_HEAD_BYTES,
  BLOCK_TAIL_BYTES,
  BlockType,
  MAX_BLOCK_BYTES,
  PREAMBLE_BYTES,
  decodeEntries,
  decodeFences,
  decodeHeader,
  decodePartition,
  decodePlace,
  decodeTrailer,
  type BackupEntry,
  type BackupFence,
  type BackupHeader,
  type BackupPartition,
  type BackupPlace,
  type BackupTotals,
} from './backup-format.ts';
import { ByteReader } from './byte-codec.ts';

/** What a file is made of. */
export type BackupItem =
  | { readonly kind: 'header'; readonly header: BackupHeader }
  | { readonly kind: 'entries'; readonly place: BackupPlace; readonly entries: readonly BackupEntry[] }
  | { readonly kind: 'fences'; readonly place: BackupPlace; readonly fences: readonly BackupFence[] }
  | { readonly kind: 'partition'; readonly place: BackupPlace; readonly partition: BackupPartition }
  | { readonly kind: 'end'; readonly totals: BackupTotals; readonly digest: Buffer };

/** A file that is no backup, or not the whole of one. */
export class BackupRefused extends Error {
  override readonly name = 'BackupRefused';
  readonly reason: 'BACKUP_FOREIGN' | 'BACKUP_VERSION' | 'BACKUP_DAMAGED';

  constructor(reason: BackupRefused['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

interface Block {
  readonly type: number;
  readonly content: Buffer;
  /** All of it, for the digest. */
  readonly bytes: Buffer;
}

/** Yields all items of a file; `end` is the last. Error: BackupRefused. */
export async function* readBackup(chunks: AsyncIterable<Buffer>): AsyncGenerator<BackupItem, void> {
  const source = new ByteSource(chunks);
  const digest = createHash('sha256');
  digest.update(await readPreamble(source));
  const course = new BackupCourse();
  for (;;) {
    const at = source.at;
    const block = await readBlock(source);
    let item: BackupItem;
    try {
      item = course.take(block, () => digest.copy().digest());
    } catch (error) {
      if (error instanceof RangeError) throw damaged(at, error.message);
      throw error;
    }
    digest.update(block.bytes);
    if (item.kind === 'end' && (await source.upTo(1)).length > 0)
      throw damaged(source.at, 'something follows the end');
    yield item;
    if (item.kind === 'end') return;
  }
}

async function readPreamble(source: ByteSource): Promise<Buffer> {
  const preamble = await source.upTo(PREAMBLE_BYTES);
  const magic = preamble.subarray(0, BACKUP_MAGIC.length);
  if (!magic.equals(BACKUP_MAGIC.subarray(0, magic.length)) || magic.length === 0)
    throw new BackupRefused('BACKUP_FOREIGN', 'it does not begin as a backup of Holdfast does');
  if (preamble.length < PREAMBLE_BYTES) throw damaged(preamble.length, 'it ends in its first bytes');
  const version = preamble.readUInt32LE(BACKUP_MAGIC.length);
  if (version === BACKUP_VERSION) return preamble;
  const message = `it is of format version ${version}, this program knows version ${BACKUP_VERSION}, or its first bytes are damaged`;
  throw new BackupRefused('BACKUP_VERSION', message);
}

async function readBlock(source: ByteSource): Promise<Block> {
  const { at } = source;
  const head = await source.upTo(BLOCK_HEAD_BYTES);
  if (head.length < BLOCK_HEAD_BYTES) throw damaged(at, 'it ends before its trailer: it was cut');
  const length = head.readUInt32LE(1);
  if (length > MAX_BLOCK_BYTES) throw damaged(at, `a block says that it has ${length} bytes`);
  const rest = await source.upTo(length + BLOCK_TAIL_BYTES);
  if (rest.length < length + BLOCK_TAIL_BYTES)
    throw damaged(at, 'it ends within a block: it was cut, or the length is damaged');
  const content = rest.subarray(0, length);
  if (crc32(content, crc32(head)) !== rest.readUInt32LE(length))
    throw damaged(at, 'a block fails its checksum');
  return { type: head[0]!, content, bytes: Buffer.concat([head, rest]) };
}

function damaged(at: number, what: string): BackupRefused {
  return new BackupRefused('BACKUP_DAMAGED', `at byte ${at}: ${what}`);
}

/** Takes blocks in the only order that a whole file has. Errors: RangeError. */
class BackupCourse {
  #header: BackupHeader | undefined;
  #place: BackupPlace = { keyspace: 0, partition: 0 };
  #totals: BackupTotals = { blocks: 0, partitions: 0, entries: 0, fences: 0 };
  #entries = 0;
  #fences = 0;
  #lastKey: Uint8Array | undefined;
  #greatestVersion = 0;

  take({ type, content }: Block, digest: () => Buffer): BackupItem {
    if ((this.#header === undefined) !== (type === BlockType.header))
      throw new RangeError(`a block of type ${type}`);
    const reader = new ByteReader(content);
    const item = this.#item(type, content, reader, digest);
    if (item.kind !== 'header' && !reader.done) throw new RangeError('a block is longer than what it has');
    this.#totals = { ...this.#totals, blocks: this.#totals.blocks + 1 };
    return item;
  }

  #item(type: number, content: Buffer, reader: ByteReader, digest: () => Buffer): BackupItem {
    switch (type) {
      case BlockType.header:
        this.#header = decodeHeader(content);
        return { kind: 'header', header: this.#header };
      case BlockType.entries: {
        const place = this.#expected(decodePlace(reader));
        const entries = decodeEntries(reader);
        for (const entry of entries) this.#entry(entry);
        return { kind: 'entries', place, entries };
      }
      case BlockType.fences: {
        const place = this.#expected(decodePlace(reader));
        const fences = decodeFences(reader);
        this.#fences += fences.length;
        return { kind: 'fences', place, fences };
      }
      case BlockType.partition: {
        const place = this.#expected(decodePlace(reader));
        return { kind: 'partition', place, partition: this.#endPartition(decodePartition(reader)) };
      }
      case BlockType.trailer:
        return this.#end(reader, digest());
    }
    throw new RangeError(`a block of unknown type ${type}`);
  }

  #expected({ keyspace, partition }: BackupPlace): BackupPlace {
    const expected = this.#place;
    if (keyspace === expected.keyspace && partition === expected.partition && !this.#isOver) return expected;
    throw new RangeError(`something of partition ${partition} of keyspace ${keyspace} is out of its order`);
  }

  get #isOver(): boolean {
    return this.#place.keyspace >= this.#header!.keyspaces.length;
  }

  #entry({ key, version }: BackupEntry): void {
    if (this.#lastKey !== undefined && Buffer.compare(this.#lastKey, key) >= 0)
      throw new RangeError('keys are not in their order');
    this.#lastKey = key;
    this.#entries++;
    this.#greatestVersion = Math.max(this.#greatestVersion, version);
  }

  #endPartition(partition: BackupPartition): BackupPartition {
    const { entries, fences, lastVersion } = partition;
    if (entries !== this.#entries || fences !== this.#fences || this.#greatestVersion > lastVersion)
      throw new RangeError('a partition does not have what it says');
    const { blocks, partitions, entries: before, fences: fencesBefore } = this.#totals;
    this.#totals = {
      blocks,
      partitions: partitions + 1,
      entries: before + entries,
      fences: fencesBefore + fences,
    };
    this.#entries = this.#fences = this.#greatestVersion = 0;
    this.#lastKey = undefined;
    const { keyspace, partition: position } = this.#place;
    const isLast = position + 1 >= this.#header!.keyspaces[keyspace]!.partitions.length;
    this.#place = isLast ? { keyspace: keyspace + 1, partition: 0 } : { keyspace, partition: position + 1 };
    return partition;
  }

  #end(reader: ByteReader, actual: Buffer): BackupItem {
    const { totals, digest } = decodeTrailer(reader);
    const { blocks, partitions, entries, fences } = this.#totals;
    const isEqual =
      totals.blocks === blocks &&
      totals.partitions === partitions &&
      totals.entries === entries &&
      totals.fences === fences;
    if (!this.#isOver || !isEqual || this.#entries + this.#fences > 0)
      throw new RangeError('the file does not have what its trailer says');
    if (!digest.equals(actual)) throw new RangeError('the SHA-256 of the file is another one');
    return { kind: 'end', totals, digest };
  }
}

/** Chunks of any size as pieces of the wanted size. */
class ByteSource {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Bytes taken. */
  get at(): number {
    return this.#at;
  }

  /** The next bytes; fewer only at the end. */
  async upTo(length: number): Promise<Buffer> {
    const pieces = [this.#rest];
    let held = this.#rest.length;
    while (held < length) {
      const { value, done } = await this.#chunks.next();
      if (done === true) break;
      pieces.push(value);
      held += value.length;
    }
    const all = pieces.length === 1 ? this.#rest : Buffer.concat(pieces);
    const taken = all.subarray(0, length);
    this.#rest = all.subarray(taken.length);
    this.#at += taken.length;
    return taken;
  }
}
