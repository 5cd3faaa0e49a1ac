import { describe, expect, it } from 'vitest';
import { between, type Random } from '@holdfast/client/random';

const DRAWS = 20_000;

/** What every Random must do. Bounds are six standard deviations wide. */
export function describeRandom(name: string, make: () => Random): void {
  describe(`Random: ${name}`, () => {
    it('draws 32-bit integers with every bit set half of the time', () => {
      const random = make();
      const ones = new Array<number>(32).fill(0);
      for (let i = 0; i < DRAWS; i++) {
        const word = random.u32();
        expect(Number.isInteger(word) && word >= 0 && word < 2 ** 32).toBe(true);
        for (let bit = 0; bit < 32; bit++) ones[bit]! += (word >>> bit) & 1;
      }
      const bound = 6 * Math.sqrt(DRAWS / 4);
      for (const count of ones) expect(Math.abs(count - DRAWS / 2)).toBeLessThan(bound);
    });

    it('draws floats evenly from [0, 1)', () => {
      const random = make();
      const buckets = new Array<number>(10).fill(0);
      for (let i = 0; i < DRAWS; i++) buckets[Math.floor(random.float() * 10)]!++;
      const bound = 6 * Math.sqrt(DRAWS * 0.09);
      for (const count of buckets) expect(Math.abs(count - DRAWS / 10)).toBeLessThan(bound);
    });

    it('reaches both ends of an interval', () => {
      const random = make();
      const seen = new Set(Array.from({ length: 1000 }, () => between(random, 3, 6)));
      expect([...seen].sort()).toEqual([3, 4, 5, 6]);
    });

    it('draws the asked number of bytes, each time others', () => {
      const random = make();
      for (const length of [0, 1, 7, 16, 5000]) expect(random.bytes(length)).toHaveLength(length);
      expect([...random.bytes(16)]).not.toEqual([...random.bytes(16)]);
      expect(new Set(random.bytes(10_000)).size).toBe(256);
    });
  });
}
