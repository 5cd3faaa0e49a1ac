import { keyHash } from './key-hash.ts';

const RING = 0x1_0000_0000;

/** An arc of the ring 0..2^32-1 and the group that keeps its keys. Both ends are inclusive. */
export interface PartitionArc {
  readonly group: bigint;
  readonly firstHash: number;
  readonly lastHash: number;
}

/** Which partition keeps a key. Immutable; arcs must cover the ring without gap or overlap. */
export class PartitionTable {
  readonly #arcs: readonly PartitionArc[];
  readonly #firsts: Uint32Array;
  // With 2^k equal arcs the index is the top k bits of the hash; -1: arcs differ.
  readonly #shift: number;

  /** Throws RangeError when the arcs do not cover the ring exactly. Their order does not matter. */
  constructor(arcs: readonly PartitionArc[]) {
    this.#arcs = [...arcs].sort((a, b) => a.firstHash - b.firstHash);
    assertCover(this.#arcs);
    this.#firsts = Uint32Array.from(this.#arcs, (arc) => arc.firstHash);
    this.#shift = equalShift(this.#arcs);
  }

  /** The arcs in order of their hashes. */
  get arcs(): readonly PartitionArc[] {
    return this.#arcs;
  }

  /** Index in `arcs` of the partition that keeps a hash. */
  indexOfHash(hash: number): number {
    if (this.#shift >= 0) return this.#shift === 32 ? 0 : hash >>> this.#shift;
    let low = 0;
    let high = this.#firsts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#firsts[middle]! <= hash) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Index in `arcs` of the partition that keeps a key. */
  indexOf(key: Uint8Array): number {
    return this.indexOfHash(keyHash(key));
  }

  /** Group of the partition that keeps a key. */
  groupOf(key: Uint8Array): bigint {
    return this.#arcs[this.indexOf(key)]!.group;
  }
}

/** First and last hash of `count` equal arcs in order; `count` is a power of two, 1 to 2^20. */
export function partitionArcs(count: number): { firstHash: number; lastHash: number }[] {
  if (!Number.isInteger(count) || count < 1 || count > 1 << 20 || (count & (count - 1)) !== 0) {
    throw new RangeError(`partition count is ${count}, allowed are powers of two from 1 to 1048576`);
  }
  const width = RING / count;
  return Array.from({ length: count }, (_, index) => ({
    firstHash: index * width,
    lastHash: (index + 1) * width - 1,
  }));
}

function assertCover(arcs: readonly PartitionArc[]): void {
  let next = 0;
  for (const arc of arcs) {
    if (arc.firstHash !== next || arc.lastHash < arc.firstHash) {
      throw new RangeError(`partition arcs leave a gap or overlap at hash ${next}`);
    }
    next = arc.lastHash + 1;
  }
  if (next !== RING) throw new RangeError(`partition arcs end at hash ${next - 1}, not at ${RING - 1}`);
}

function equalShift(arcs: readonly PartitionArc[]): number {
  const bits = 31 - Math.clz32(arcs.length);
  if (1 << bits !== arcs.length) return -1;
  const width = RING / arcs.length;
  return arcs.every((arc, index) => arc.firstHash === index * width) ? 32 - bits : -1;
}
