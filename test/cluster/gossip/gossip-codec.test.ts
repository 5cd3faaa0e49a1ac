import fc from 'fast-check';
import { create, toBinary } from '@bufbuild/protobuf';
import { GossipMessageSchema } from '@holdfast/proto/gossip/v1/gossip';
import { describe, expect, test } from 'vitest';
import { decodeGossip, encodeGossip } from '../../../node/cluster/gossip-codec.ts';
import type { GossipBody, GossipMessage } from '../../../node/cluster/gossip/messages.ts';
import { MAX_INCARNATION, recordBytes, type NodeRecord } from '../../../node/cluster/gossip/node-record.ts';
import { record } from './gossip-samples.ts';

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const text = (most: number) => fc.string({ unit: 'grapheme', maxLength: most });
const bounded = (most: number) => text(most).filter((value) => Buffer.byteLength(value) <= most);
const name = bounded(64).filter((value) => value.length > 0);
const instance = fc.record({ member: u32, start: fc.integer({ min: 0, max: MAX_INCARNATION }) });
const records = fc
  .tuple(
    instance,
    fc.record({
      name,
      accuser: bounded(64),
      zone: bounded(64),
      datacentre: bounded(64),
      grpc: bounded(300),
      http: bounded(300),
      version: bounded(64),
      load: fc.integer({ min: 0, max: 100 }),
      incarnation: fc.integer({ min: 0, max: MAX_INCARNATION - 1 }),
      state: fc.constantFrom('alive' as const, 'suspect' as const, 'dead' as const, 'left' as const),
    }),
  )
  .map(([run, rest]): NodeRecord => ({ ...run, ...rest }));
const bodies: fc.Arbitrary<GossipBody> = fc.oneof(
  fc.record({ type: fc.constantFrom('ping' as const, 'pingRequest' as const), number: u32, target: name }),
  fc.record({ type: fc.constantFrom('ack' as const, 'nack' as const), number: u32 }),
  fc.record({
    type: fc.constant('sync' as const),
    nodes: fc.array(records, { maxLength: 5 }),
    wantsReply: fc.boolean(),
  }),
  fc.constant({ type: 'notice' as const }),
  fc.record({ type: fc.constant('refusal' as const), newer: instance }),
);
const messages: fc.Arbitrary<GossipMessage> = fc.record({
  clusterId: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((id) => Buffer.from(id).toString('hex')),
  from: instance,
  news: fc.array(records, { maxLength: 5 }),
  body: bodies,
});

describe('a message as bytes', () => {
  test('is the same again', () => {
    fc.assert(
      fc.property(messages, (message) => {
        expect(decodeGossip(encodeGossip(message))).toEqual(message);
      }),
    );
  });

  test('takes no more for a record than is counted for it', () => {
    fc.assert(
      fc.property(messages, records, (message, more) => {
        const [without, with_] = [message.news, [...message.news, more]].map((news) =>
          encodeGossip({ ...message, news }),
        );
        expect(with_!.length - without!.length).toBeLessThanOrEqual(recordBytes(more));
      }),
    );
  });

  test('that is garbage is a RangeError, and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), messages, fc.nat(), (garbage, message, at) => {
        const cut = encodeGossip(message);
        const broken = cut.slice(0, at % cut.length);
        for (const bytes of [garbage, broken]) {
          try {
            decodeGossip(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(RangeError);
          }
        }
      }),
    );
  });
});

const valid: GossipMessage = {
  clusterId: 'ab'.repeat(16),
  from: { member: 1, start: 1 },
  news: [],
  body: { type: 'notice' },
};

test.each([
  ['a long name', { name: 'a'.repeat(65) }],
  ['no name', { name: '' }],
  ['a long zone', { zone: 'a'.repeat(65) }],
  ['a long endpoint', { grpc: 'a'.repeat(301) }],
  ['an incarnation that leaves no room', { incarnation: MAX_INCARNATION }],
  ['too many starts', { start: MAX_INCARNATION + 1 }],
  ['more than all of its load', { load: 101 }],
])('a record with %s is refused', (_, change) => {
  expect(() => decodeGossip(encodeGossip({ ...valid, news: [record('a', change)] }))).toThrow(RangeError);
});

test('another format, a short cluster id and a message that says nothing are refused', () => {
  const wire = { formatVersion: 1, clusterId: new Uint8Array(16), from: { member: 1, start: 1n } };
  const notice = { case: 'notice' as const, value: {} };
  const decode = (message: object) =>
    decodeGossip(toBinary(GossipMessageSchema, create(GossipMessageSchema, message)));
  expect(decode({ ...wire, body: notice }).body).toEqual({ type: 'notice' });
  expect(() => decode({ ...wire, formatVersion: 2, body: notice })).toThrow(
    'format 2 of gossip is not known',
  );
  expect(() => decode({ ...wire, clusterId: new Uint8Array(15), body: notice })).toThrow('16 bytes');
  expect(() => decode({ ...wire, from: undefined, body: notice })).toThrow('a run is missing');
  expect(() => decode(wire)).toThrow('says or asks something');
});
