/** The messages that move a snapshot's rows: what was sent is read, anything else is no message. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  decodePart,
  decodeRequest,
  encodePart,
  encodeRequest,
  type SnapshotPart,
} from '../../node/raft/snapshot-parts.ts';

const name = {
  group: fc.maxSafeNat(),
  index: fc.maxSafeNat(),
  term: fc.maxSafeNat(),
  part: fc.nat({ max: 0xffff_ffff }),
};
const rest = fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const parts: fc.Arbitrary<SnapshotPart> = fc.record({
  ...name,
  isLast: fc.boolean(),
  rows: fc.array(fc.tuple(rest, fc.uint8Array({ maxLength: 100 })), { maxLength: 8 }),
});
/** Rows with plain bytes. */
const plain = (part: SnapshotPart) => ({
  ...part,
  rows: part.rows.map(([row, content]) => [row, Uint8Array.from(content)]),
});

test('requests and parts are read as they were written', () => {
  fc.assert(
    fc.property(fc.record(name), parts, (request, part) => {
      expect(decodeRequest(Uint8Array.from(encodeRequest(request)))).toEqual(request);
      expect(plain(decodePart(Uint8Array.from(encodePart(part))))).toEqual(plain(part));
    }),
  );
});

test('cut off anywhere, a part has fewer rows or is a RangeError', () => {
  fc.assert(
    fc.property(parts, fc.double({ min: 0, max: 1, noNaN: true }), (part, share) => {
      const bytes = encodePart(part);
      const cut = Uint8Array.from(bytes.subarray(0, Math.floor(bytes.length * share)));
      let found: SnapshotPart;
      try {
        found = decodePart(cut);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
        return;
      }
      expect(plain(found).rows).toEqual(plain(part).rows.slice(0, found.rows.length));
    }),
  );
});

test('any bytes are a message or a RangeError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      for (const decode of [decodePart, decodeRequest]) {
        try {
          decode(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }
    }),
  );
});
