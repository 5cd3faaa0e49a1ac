/** Reads that other nodes do. */
import { create, toBinary } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { GetResponseSchema } from '@holdfast/proto/kv/v1/kv';
import {
  ReadRangeResponseSchema,
  ReadResponseSchema,
  type ReadRangeRequest,
  type ReadRequest,
} from '@holdfast/proto/raft/v1/forward';
import { HoldfastError } from '../../client/error.ts';
import { ClusterRig, noLeader, notLeader, unreachable, type MadeCall } from './cluster-rig.ts';

function read(rig: ClusterRig, key: string, timeoutMs = 5_000): void {
  rig.reads.read(rig.place, Buffer.from(key), rig.clock.monotonicMs() + timeoutMs).then(
    ({ entry }) => rig.ends.push(`${key} ${entry === undefined ? 'absent' : String(entry.value[0])}`),
    ({ reason }: HoldfastError) => rig.ends.push(`${key} ${reason}`),
  );
}

const keysOf = ({ request }: MadeCall) => (request as ReadRequest).keys.map(String);

/** Values of one byte; undefined: there is none. */
function values(...given: (number | undefined)[]) {
  return create(ReadResponseSchema, {
    results: given.map((value) =>
      create(GetResponseSchema, value === undefined ? {} : { entry: { value: Uint8Array.of(value) } }),
    ),
  });
}

test('keys of one turn go in one call, and those that found no place in the answer in another', async () => {
  const rig = new ClusterRig();
  for (const key of ['a', 'b', 'c']) read(rig, key);
  const first = await rig.next();
  expect(keysOf(first)).toEqual(['a', 'b', 'c']);
  first.answer(values(1, undefined));
  const second = await rig.next();
  expect(keysOf(second)).toEqual(['c']);
  second.answer(values(3));
  await rig.run();
  expect(rig.ends).toEqual(['a 1', 'b absent', 'c 3']);
  expect(rig.observed).toEqual(['read OK', 'read OK']);
});

test('another node is asked when one cannot be reached, has no replica or no leader', async () => {
  const rig = new ClusterRig();
  read(rig, 'a');
  const asked: string[] = [];
  for (const error of [unreachable(), notLeader(), notLeader('n2:1')]) {
    const call = await rig.next();
    asked.push(call.to);
    call.fail(error.withOutcome(undefined));
  }
  const last = await rig.next();
  last.answer(values(7));
  await rig.run();
  expect(new Set(asked).size).toBeGreaterThan(1);
  expect(last.to).not.toBe('n2:1'); // it could not be reached a moment ago
  expect(rig.ends).toEqual(['a 7']);
});

test('an error of the read itself is not asked for again', async () => {
  const rig = new ClusterRig();
  read(rig, 'a');
  (await rig.next()).fail(new HoldfastError({ reason: 'STORAGE_DAMAGED', message: 'damaged' }));
  await rig.run(200);
  expect(rig.ends).toEqual(['a STORAGE_DAMAGED']);
  expect(rig.calls).toEqual([]);
});

test('a read ends by its deadline', async () => {
  const rig = new ClusterRig();
  read(rig, 'a', 500);
  while (rig.ends.length === 0) {
    const call = await rig.next();
    call?.fail(notLeader());
    await rig.run();
  }
  expect(rig.ends).toEqual(['a NOT_LEADER']);
  expect(rig.clock.monotonicMs()).toBeLessThan(500);
});

test('where nobody has led for long a read ends when all who can be asked have been', async () => {
  const rig = new ClusterRig();
  read(rig, 'a', 5_000);
  for (let asked = 0; asked < 3; asked++)
    (await rig.next()).fail(asked === 0 ? noLeader() : unreachable('NOT_APPLIED'));
  await rig.run(60);
  expect(rig.ends).toEqual(['a NO_LEADER']);
});

test('a read of a keyspace that was dropped ends', async () => {
  const rig = new ClusterRig();
  read(rig, 'a');
  const call = await rig.next();
  rig.place.isGone = true;
  call.fail(notLeader());
  await rig.run(100);
  expect(rig.ends).toEqual(['a KEYSPACE_UNKNOWN']);
});

test('a range is asked for as it is', async () => {
  const rig = new ClusterRig();
  const range = { start: Buffer.from('a'), end: undefined, maxRows: 9, maxBytes: 99 };
  const part = rig.reads.readRange(rig.place, range, 1_000);
  const call = await rig.next();
  expect(call.request as ReadRangeRequest).toMatchObject({ group: 7n, maxRows: 9, maxBytes: 99 });
  expect((call.request as ReadRangeRequest).end).toBeUndefined();
  const answer = create(ReadRangeResponseSchema, { next: Buffer.from('b') });
  call.answer(answer);
  expect(toBinary(ReadRangeResponseSchema, await part)).toEqual(toBinary(ReadRangeResponseSchema, answer));
});
