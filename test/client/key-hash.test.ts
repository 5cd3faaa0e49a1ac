import { keyHash } from '@holdfast/client/key-hash';
import { partitionArcs, PartitionTable } from '@holdfast/client/partition-table';
import fc from 'fast-check';
import { expect, test } from 'vitest';

const utf8 = new TextEncoder();

// Published vectors of MurmurHash3_x86_32 with seed 0.
test.each([
  ['', 0x00000000],
  ['\0\0\0\0', 0x2362f9de],
  ['\0\0\0', 0x85f0b427],
  ['\0\0', 0x30f4c306],
  ['\0', 0x514e28b7],
  ['hello', 0x248bfa47],
  ['hello, world', 0x149bbb7f],
  ['The quick brown fox jumps over the lazy dog', 0x2e4ff723],
] as const)('hash of %j', (text, expected) => {
  expect(keyHash(utf8.encode(text))).toBe(expected);
});

test('published vectors over raw bytes', () => {
  expect(keyHash(Uint8Array.of(0xff, 0xff, 0xff, 0xff))).toBe(0x76293b50);
  expect(keyHash(Uint8Array.of(0x21, 0x43, 0x65, 0x87))).toBe(0xf55b516b);
  expect(keyHash(Uint8Array.of(0x21, 0x43, 0x65))).toBe(0x7e4a8634);
  expect(keyHash(Uint8Array.of(0x21, 0x43))).toBe(0xa0f7b07a);
  expect(keyHash(Uint8Array.of(0x21))).toBe(0x72661cf4);
});

const ring = 0x1_0000_0000;

function tableFrom(cuts: readonly number[]) {
  const firsts = [...new Set([0, ...cuts])].sort((a, b) => a - b);
  const arcs = firsts.map((firstHash, index) => ({
    group: BigInt(index + 10),
    firstHash,
    lastHash: (firsts[index + 1] ?? ring) - 1,
  }));
  return { arcs, table: new PartitionTable([...arcs].reverse()) };
}

test('lookup agrees with a search through all arcs', () => {
  const hash = fc.integer({ min: 0, max: ring - 1 });
  fc.assert(
    fc.property(fc.array(hash, { maxLength: 40 }), fc.array(hash, { minLength: 1 }), (cuts, hashes) => {
      const { arcs, table } = tableFrom(cuts);
      for (const at of [...hashes, ...cuts, 0, ring - 1]) {
        const expected = arcs.findIndex((arc) => arc.firstHash <= at && at <= arc.lastHash);
        expect(table.indexOfHash(at)).toBe(expected);
      }
    }),
  );
});

test('equal arcs of every power of two', () => {
  for (let count = 1; count <= 1_024; count *= 2) {
    const arcs = partitionArcs(count).map((arc, index) => ({ ...arc, group: BigInt(index) }));
    const table = new PartitionTable(arcs);
    for (const [index, arc] of arcs.entries()) {
      expect(table.indexOfHash(arc.firstHash)).toBe(index);
      expect(table.indexOfHash(arc.lastHash)).toBe(index);
    }
  }
  expect(() => partitionArcs(3)).toThrow(RangeError);
  expect(() => partitionArcs(0)).toThrow(RangeError);
});

test('arcs that do not cover the ring are refused', () => {
  expect(() => new PartitionTable([])).toThrow(RangeError);
  expect(() => new PartitionTable([{ group: 1n, firstHash: 0, lastHash: 5 }])).toThrow(RangeError);
  expect(
    () =>
      new PartitionTable([
        { group: 1n, firstHash: 0, lastHash: 5 },
        { group: 2n, firstHash: 7, lastHash: ring - 1 },
      ]),
  ).toThrow(RangeError);
});
