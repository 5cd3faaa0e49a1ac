import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeEnvelope, encodeEnvelope, type GroupMessage } from '../../node/raft/core/message-codec.ts';
import type { Message } from '../../node/raft/core/messages.ts';
import { VarintReader, VarintWriter } from '../../node/raft/core/varint.ts';

const integer = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.maxSafeNat());
const address = {
  from: fc.integer({ min: 1, max: 2 ** 40 }),
  to: fc.integer({ min: 1, max: 9 }),
  term: integer,
};
const flag = fc.boolean();

function typed<T extends Message['type']>(type: T, fields: Record<string, fc.Arbitrary<unknown>>) {
  const record = fc.record({ type: fc.constant(type), ...address, ...fields });
  return record as fc.Arbitrary<unknown> as fc.Arbitrary<Extract<Message, { type: T }>>;
}

const contents = fc.record({
  stampMs: integer,
  kind: fc.nat(255),
  version: fc.nat(255),
  payload: fc.uint8Array({ maxLength: 20 }),
});
const appends = fc
  .tuple(
    typed('append', { prevIndex: fc.integer({ min: 0, max: 2 ** 50 }), committed: integer }),
    fc.array(contents, { maxLength: 5 }),
  )
  .map(([append, list]) => ({
    ...append,
    prevTerm: Math.min(append.term, 3),
    entries: list.map((content, position) => ({
      index: append.prevIndex + 1 + position,
      term: Math.min(append.term, 3 + position),
      ...content,
    })),
  }));

const configuration = fc.constantFrom(
  { voters: [1, 2, 3], outgoing: [], learners: [] },
  { voters: [1, 4], outgoing: [1, 2, 300], learners: [2] },
);

const messages: fc.Arbitrary<Message> = fc.oneof(
  typed('preVote', { lastIndex: integer, lastTerm: integer }),
  typed('preVoteResponse', { granted: flag }),
  typed('vote', { lastIndex: integer, lastTerm: integer, isTransfer: flag }),
  typed('voteResponse', { granted: flag }),
  appends,
  typed('appendAccepted', { index: integer }),
  typed('appendRejected', { prevIndex: integer, hintIndex: integer, hintTerm: integer }),
  typed('heartbeat', { committed: integer, round: integer }),
  typed('heartbeatResponse', { round: integer }),
  typed('snapshot', {
    snapshot: fc.record({ index: integer, term: integer, stampMs: integer, configuration }),
  }),
  typed('timeoutNow', {}),
  typed('readIndex', { id: integer }),
  typed('readIndexResponse', { id: integer, index: integer }),
);
const envelopes: fc.Arbitrary<GroupMessage[]> = fc.array(fc.record({ group: integer, message: messages }), {
  maxLength: 8,
});

describe('an envelope', () => {
  test('brings every message as it was', () => {
    fc.assert(
      fc.property(envelopes, (sent) => {
        expect(decodeEnvelope(Uint8Array.from(encodeEnvelope(sent)))).toEqual(sent);
      }),
    );
  });

  test('cut off at any byte gives whole messages or a RangeError', () => {
    fc.assert(
      fc.property(envelopes, fc.float({ min: 0, max: 1, noNaN: true }), (sent, share) => {
        const bytes = encodeEnvelope(sent);
        expectSound(Uint8Array.from(bytes.subarray(0, Math.floor(bytes.length * share))), sent.length);
      }),
    );
  });

  test('with a changed byte gives messages or a RangeError', () => {
    fc.assert(
      fc.property(envelopes, fc.nat(), fc.nat(255), (sent, at, value) => {
        const bytes = Uint8Array.from(encodeEnvelope(sent));
        bytes[at % bytes.length] = value;
        expectSound(bytes, Infinity);
      }),
    );
  });

  test('of random bytes gives messages or a RangeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) =>
        expectSound(Uint8Array.of(1, ...bytes), Infinity),
      ),
      { numRuns: 2000 },
    );
  });

  test('that announces a billion entries allocates none', () => {
    const writer = new VarintWriter().u8(1).u8(5);
    for (const field of [1, 2, 1, 1, 0, 0, 0, 1_000_000_000]) writer.varint(field);
    expect(() => decodeEnvelope(writer.finish())).toThrow('1000000000 items announced');
  });

  test('of an unknown version or with an unknown type is refused by name', () => {
    expect(() => decodeEnvelope(Uint8Array.of(9))).toThrow('envelope of unknown version 9');
    expect(() => decodeEnvelope(Uint8Array.of(1, 99, 1))).toThrow('message of unknown type 99');
    expect(() => decodeEnvelope(new Uint8Array(0))).toThrow(RangeError);
  });

  test('has payloads that are views of it', () => {
    const entries = [{ index: 1, term: 1, stampMs: 5, kind: 2, version: 1, payload: Buffer.from('payload') }];
    const message: Message = {
      type: 'append',
      from: 1,
      to: 2,
      term: 1,
      prevIndex: 0,
      prevTerm: 0,
      committed: 0,
      entries,
    };
    const bytes = Uint8Array.from(encodeEnvelope([{ group: 7, message }]));
    const decoded = decodeEnvelope(bytes)[0]!.message;
    expect(decoded.type === 'append' && decoded.entries[0]!.payload.buffer).toBe(bytes.buffer);
  });

  test('spends a dozen bytes on a heartbeat', () => {
    const message: Message = {
      type: 'heartbeat',
      from: 7001,
      to: 7002,
      term: 40,
      committed: 1_000_000,
      round: 90,
    };
    const many = Array.from({ length: 100 }, (_, group) => ({ group: group + 1, message }));
    expect(encodeEnvelope(many).length).toBeLessThan(1300);
  });
});

describe('varints', () => {
  test('hold 53 bits, and no more', () => {
    fc.assert(
      fc.property(integer, (value) => {
        expect(new VarintReader(new VarintWriter(1).varint(value).finish()).varint()).toBe(value);
      }),
    );
    expect(() => new VarintReader(Uint8Array.from(Array.from({ length: 9 }, () => 0xff))).varint()).toThrow(
      '53 bits',
    );
    expect(() =>
      new VarintReader(Uint8Array.from([255, 255, 255, 255, 255, 255, 255, 127])).varint(),
    ).toThrow('53');
    for (const value of [-1, 0.5, 2 ** 53])
      expect(() => new VarintWriter().varint(value)).toThrow(RangeError);
  });
});

function expectSound(bytes: Uint8Array, atMost: number): void {
  let decoded: GroupMessage[];
  try {
    decoded = decodeEnvelope(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(RangeError);
    return;
  }
  expect(decoded.length).toBeLessThanOrEqual(atMost);
  expect(decodeEnvelope(Uint8Array.from(encodeEnvelope(decoded)))).toEqual(decoded);
}
