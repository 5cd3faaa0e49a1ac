/** The backup file: what is written is read again, and nothing that is not whole is. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BlockType,
  encodeBlock,
  encodeEntries,
  type BackupEntry,
  type BackupFence,
  type BackupHeader,
} from '../../node/storage/backup-format.ts';
import { BackupRefused, readBackup, type BackupItem } from '../../node/storage/backup-reader.ts';
import { BackupWriter } from '../../node/storage/backup-writer.ts';

/** Parts of a partition in the order in which they are written. */
interface Content {
  readonly entries: readonly BackupEntry[];
  readonly fences: readonly BackupFence[];
}

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const number = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const entry: fc.Arbitrary<BackupEntry> = fc.record({
  key: bytes(20),
  version: number,
  expiresAtMs: fc.option(number, { nil: undefined }),
  value: bytes(100),
});
const entries = fc
  .uniqueArray(entry, { maxLength: 20, selector: ({ key }) => Buffer.from(key).toString('latin1') })
  .map((all) => [...all].sort((a, b) => Buffer.compare(a.key, b.key)));
const fence = fc.record({ lock: fc.string({ minLength: 1, maxLength: 10 }), token: number });
const content: fc.Arbitrary<Content> = fc.record({ entries, fences: fc.array(fence, { maxLength: 4 }) });
/** Keyspaces, each of some partitions. */
const keyspaces = fc.array(fc.array(content, { minLength: 1, maxLength: 4 }), { maxLength: 3 });

function headerOf(all: readonly (readonly Content[])[]): BackupHeader {
  return {
    cluster_id: '00112233445566778899aabbccddeeff',
    time_ms: 1_700_000_000_000,
    tree_revision: '42',
    keyspaces: all.map((partitions, at) => ({
      name: `k${at}`,
      id: String(at + 1),
      mode: 'raft' as const,
      replication: 3,
      max_key_bytes: 4_096,
      max_value_bytes: 1_048_576,
      created_at_ms: 1_600_000_000_000,
      partitions: partitions.map((_, position) => ({ first_hash: position, last_hash: position })),
    })),
  };
}

/** A file, whose partitions are begun again when `breaks` says so. */
function written(all: readonly (readonly Content[])[], breaks: () => boolean = () => false): Buffer {
  const writer = new BackupWriter();
  let file = writer.header(headerOf(all));
  const add = (more: Buffer) => (file = Buffer.concat([file, more]));
  const begin = () => {
    writer.beginPartition();
    file = file.subarray(0, writer.bytes);
  };
  for (const [keyspace, partitions] of all.entries())
    for (const [partition, one] of partitions.entries()) {
      const place = { keyspace, partition };
      begin();
      if (breaks()) {
        add(writer.entries(place, one.entries.slice(0, 1)));
        begin();
      }
      if (one.entries.length > 0) add(writer.entries(place, one.entries));
      if (one.fences.length > 0) add(writer.fences(place, one.fences));
      const lastVersion = Math.max(0, ...one.entries.map(({ version }) => version));
      add(
        writer.endPartition(place, {
          entries: one.entries.length,
          fences: one.fences.length,
          lastVersion,
          asOfMs: 1,
        }),
      );
    }
  return add(writer.trailer());
}

async function items(file: Buffer, chunkBytes = file.length || 1): Promise<BackupItem[]> {
  const chunks = async function* () {
    for (let at = 0; at < file.length; at += chunkBytes) yield file.subarray(at, at + chunkBytes);
  };
  const all: BackupItem[] = [];
  for await (const item of readBackup(chunks())) all.push(item);
  return all;
}

async function reasonOf(file: Buffer): Promise<string> {
  return items(file).then(
    () => 'whole',
    (error: unknown) => {
      if (error instanceof BackupRefused) return error.reason;
      throw error;
    },
  );
}

const SMALL: Content[][] = [
  [
    {
      entries: [
        { key: Buffer.from('a'), version: 3, expiresAtMs: undefined, value: Buffer.from('one') },
        { key: Buffer.from('b'), version: 1, expiresAtMs: 1_800_000_000_000, value: Buffer.alloc(0) },
      ],
      fences: [{ lock: 'leader', token: 7 }],
    },
    { entries: [], fences: [] },
  ],
];

describe('a backup file', () => {
  it('is read as it was written, whatever the chunks, and however often a partition was begun', async () => {
    const property = fc.asyncProperty(
      keyspaces,
      fc.integer({ min: 1, max: 300 }),
      fc.infiniteStream(fc.boolean()),
      async (all, chunkBytes, breaks) => {
        const found = await items(
          written(all, () => breaks.next().value === true),
          chunkBytes,
        );
        expect(found[0]).toEqual({ kind: 'header', header: headerOf(all) });
        const at = (keyspace: number, partition: number) =>
          found.filter(
            (item) =>
              'place' in item && item.place.keyspace === keyspace && item.place.partition === partition,
          );
        for (const [keyspace, partitions] of all.entries())
          for (const [partition, one] of partitions.entries()) {
            const own = at(keyspace, partition);
            expect(own.flatMap((item) => (item.kind === 'entries' ? item.entries : []))).toEqual(one.entries);
            expect(own.flatMap((item) => (item.kind === 'fences' ? item.fences : []))).toEqual(one.fences);
          }
        expect(found.at(-1)!.kind).toBe('end');
      },
    );
    await fc.assert(property, { numRuns: 150 });
  });

  it('is the same bytes whether or not a partition was begun again', () => {
    expect(written(SMALL, () => true)).toEqual(written(SMALL));
  });

  it('is refused wherever it was cut', async () => {
    const file = written(SMALL);
    expect(await reasonOf(file)).toBe('whole');
    for (let length = 0; length < file.length; length++)
      expect(await reasonOf(file.subarray(0, length)), `${length} bytes`).toMatch(
        /^BACKUP_(DAMAGED|FOREIGN)$/,
      );
  });

  it('is refused whichever bit was flipped', async () => {
    const file = written(SMALL);
    for (let bit = 0; bit < file.length * 8; bit++) {
      const flipped = Buffer.from(file);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(await reasonOf(flipped), `bit ${bit}`).toMatch(/^BACKUP_/);
    }
  });

  it('is refused with something behind it, or with something left out', async () => {
    const file = written(SMALL);
    expect(await reasonOf(Buffer.concat([file, Buffer.from([0])]))).toBe('BACKUP_DAMAGED');
    expect(await reasonOf(Buffer.concat([file, file]))).toBe('BACKUP_DAMAGED');
    const blocks = blocksOf(file);
    for (const left of blocks.keys()) {
      const rest = Buffer.concat(blocks.filter((_, at) => at !== left));
      expect(await reasonOf(rest), `without block ${left}`).toMatch(/^BACKUP_/);
    }
    for (let at = 1; at + 1 < blocks.length; at++) {
      const swapped = blocks.with(at, blocks[at + 1]!).with(at + 1, blocks[at]!);
      expect(await reasonOf(Buffer.concat(swapped)), `block ${at} behind the next`).toMatch(/^BACKUP_/);
    }
  });

  it('is refused when it is none, or of another version', async () => {
    expect(await reasonOf(Buffer.from('something else altogether'))).toBe('BACKUP_FOREIGN');
    expect(await reasonOf(Buffer.alloc(0))).toBe('BACKUP_FOREIGN');
    const newer = written(SMALL);
    newer.writeUInt32LE(2, 8);
    expect(await reasonOf(newer)).toBe('BACKUP_VERSION');
  });

  it('is refused when a block has more than its partition may have', async () => {
    const place = { keyspace: 0, partition: 0 };
    const [a, b] = SMALL[0]![0]!.entries;
    const file = (keys: readonly BackupEntry[]) =>
      Buffer.concat([
        new BackupWriter().header(headerOf(SMALL)),
        encodeBlock(BlockType.entries, encodeEntries(place, keys)),
      ]);
    await expect(items(file([b!, a!]))).rejects.toThrow('keys are not in their order');
    await expect(items(file([a!, a!]))).rejects.toThrow('keys are not in their order');
    await expect(items(file([a!, b!]))).rejects.toThrow('it was cut');
  });
});

/** The preamble and each block. */
function blocksOf(file: Buffer): Buffer[] {
  const blocks = [file.subarray(0, 12)];
  for (let at = 12; at < file.length;) {
    const length = 9 + file.readUInt32LE(at + 1);
    blocks.push(file.subarray(at, at + length));
    at += length;
  }
  return blocks;
}
