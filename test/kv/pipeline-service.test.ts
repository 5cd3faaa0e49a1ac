/** One pipeline stream: order on a key, answers, back-pressure, end. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { PipelineRequestSchema } from '@holdfast/proto/kv/v1/kv';
import { beforeEach, describe, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { KvRig, TestStream, bytes, text } from './kv-rig.ts';

let rig: KvRig;
beforeEach(async () => {
  rig = await KvRig.start('pipeline');
});

type Call = NonNullable<MessageInitShape<typeof PipelineRequestSchema>['calls']>[number];

const put = (id: number, key: string, value: string, more = {}): Call => ({
  id,
  operation: {
    case: 'mutation',
    value: { key: bytes(key), operation: { case: 'put', value: { value: bytes(value), ...more } } },
  },
});
const get = (id: number, key: string): Call => ({
  id,
  operation: { case: 'get', value: { key: bytes(key) } },
});
const increment = (id: number, key: string): Call => ({
  id,
  operation: { case: 'mutation', value: { key: bytes(key), operation: { case: 'increment', value: {} } } },
});
const message = (calls: Call[], keyspace = 'default') => create(PipelineRequestSchema, { keyspace, calls });

describe('a pipeline', () => {
  test('executes operations on one key in the order sent', async () => {
    const stream = rig.pipeline();
    stream.take(
      message([
        put(1, 'a', '1'),
        get(2, 'a'),
        put(3, 'a', '2'),
        put(4, 'a', '3'),
        get(5, 'a'),
        get(6, 'a'),
        put(7, 'a', '4'),
      ]),
    );
    stream.take(message([get(8, 'a'), increment(9, 'a'), get(10, 'a')]));
    await rig.node.world.runUntilTrue(() => stream.answers.length === 10, 5_000);
    const seen = Object.fromEntries(
      stream.answers.map(({ id, result }) => [
        id,
        result.case === 'get' ? text(result.value.entry?.value) : 'written',
      ]),
    );
    expect(seen).toEqual({
      1: 'written',
      2: '1',
      3: 'written',
      4: 'written',
      5: '3',
      6: '3',
      7: 'written',
      8: '4',
      9: 'written',
      10: '5',
    });
  });

  test('keeps that order for random operations on few keys, whatever is refused among them', async () => {
    const stream = rig.pipeline();
    const model = new Map<string, string>();
    const expected = new Map<number, string | undefined>();
    const random = rig.node.random.fork('operations');
    let id = 0;
    for (let round = 0; round < 40; round++) {
      const calls: Call[] = [];
      for (let i = 0; i < 25; i++) {
        const key = `k${Math.floor(random.float() * 3)}`;
        id++;
        if (random.chance(0.4)) {
          calls.push(get(id, key));
          expected.set(id, model.get(key));
        } else if (random.chance(0.1)) {
          calls.push(put(id, key, 'refused', { ttlMs: -1n }));
        } else {
          calls.push(put(id, key, String(id)));
          model.set(key, String(id));
        }
      }
      stream.take(message(calls));
      if (random.chance(0.5)) await rig.node.world.runFor(random.float() * 2);
    }
    await rig.node.world.runUntilTrue(() => stream.answers.length === id, 10_000);
    expect(stream.answers).toHaveLength(id);
    for (const { id: answered, result } of stream.answers) {
      if (result.case === 'get')
        expect(text(result.value.entry?.value), `call ${answered}`).toBe(expected.get(answered));
    }
  });

  test('a write behind a read that waits for log time waits as well', async () => {
    const stream = rig.pipeline();
    stream.take(message([put(1, 'a', 'old', { ttlMs: 100n })]));
    await rig.node.world.runFor(200);
    stream.take(message([get(2, 'a'), put(3, 'a', 'new'), get(4, 'a')]));
    await rig.node.world.runUntilTrue(() => stream.answers.length === 4, 5_000);
    const seen = Object.fromEntries(
      stream.answers.map(({ id, result }) => [
        id,
        result.case === 'get' ? text(result.value.entry?.value) : result.case,
      ]),
    );
    expect(seen).toEqual({ 1: 'mutation', 2: undefined, 3: 'mutation', 4: 'new' });
  });

  test('answers many calls in few messages', async () => {
    const stream = rig.pipeline();
    stream.take(message(Array.from({ length: 500 }, (_, i) => put(i + 1, `k${i}`, 'v'))));
    await rig.node.world.runUntilTrue(() => stream.answers.length === 500, 5_000);
    expect(stream.messages).toBeLessThan(20);
    expect(rig.observed.filter((each) => each === 'mutation OK')).toHaveLength(500);
  });

  test('answers each call of a bad message with the error', async () => {
    const stream = rig.pipeline();
    stream.take(message([put(1, 'a', '1'), get(2, 'a')], 'nowhere'));
    stream.take(
      message([
        { id: 3 },
        put(4, '', 'x'),
        { ...get(5, 'a'), timeoutMs: 300_001 },
        { ...put(6, 'a', 'x'), timeoutMs: 300_001 },
      ]),
    );
    await rig.node.world.runUntilTrue(() => stream.answers.length === 6, 5_000);
    const reasons = Object.fromEntries(
      stream.answers.map(({ id, result }) => [
        id,
        result.case === 'error' ? `${result.value.reason} ${result.value.outcome}` : result.case,
      ]),
    );
    expect(reasons).toMatchObject({
      1: 'KEYSPACE_UNKNOWN 1',
      2: 'KEYSPACE_UNKNOWN 0',
      3: 'OPERATION_MISSING 1',
      4: 'KEY_EMPTY 1',
      6: 'INVALID_FIELD 1',
    });
  });

  test('takes no more while the caller does not read, and goes on when it does', async () => {
    const stream = rig.pipeline();
    stream.hasRoom = false;
    stream.take(message([put(1, 'a', '1')]));
    await rig.node.world.runUntilTrue(() => stream.answers.length === 1, 5_000);
    expect(stream.paused).toBe(true);
    stream.hasRoom = true;
    stream.drain();
    expect(stream.paused).toBe(false);
  });

  test('reads large values only as fast as the caller takes them', async () => {
    await rig.put({ key: bytes('large'), value: bytes('x'.repeat(1_000_000)) });
    const stream = rig.pipeline();
    stream.hasRoom = false;
    stream.take(message(Array.from({ length: 1_000 }, (_, i) => get(i + 1, 'large'))));
    await rig.node.world.runFor(1_000);
    expect(stream.answers.length).toBeLessThan(5);
    expect(stream.paused).toBe(true);
    stream.hasRoom = true;
    stream.drain();
    await rig.node.world.runUntilTrue(() => stream.answers.length === 1_000, 60_000);
    expect(stream.answers).toHaveLength(1_000);
    expect(stream.paused).toBe(false);
  });

  test('takes no more than its bound of unanswered bytes', async () => {
    const stream = rig.pipeline();
    for (let i = 0; i < 20; i++) stream.take(message([put(i + 1, `k${i}`, 'x'.repeat(1_000_000))]));
    expect(stream.paused).toBe(true);
    await rig.node.world.runUntilTrue(() => stream.answers.length === 20, 60_000);
    expect(stream.paused).toBe(false);
  });

  test('answers what it took when the caller sends no more, then ends', async () => {
    const stream = rig.pipeline();
    stream.take(message([put(1, 'a', '1'), increment(2, 'n')]));
    stream.halfClose();
    await rig.node.world.runUntilTrue(() => stream.ended, 5_000);
    expect(stream.answers.map(({ id }) => id).sort()).toEqual([1, 2]);
    expect(stream.error).toBeUndefined();
  });

  test('answers what it took when the node stops, takes no more, then ends', async () => {
    const stream = rig.pipeline();
    stream.take(message([put(1, 'a', '1')]));
    rig.stopStreams();
    expect(stream.paused).toBe(true);
    await rig.node.world.runUntilTrue(() => stream.ended, 5_000);
    expect(stream.answers).toHaveLength(1);
  });

  test('a stream that is gone costs nothing more', async () => {
    const stream = rig.pipeline();
    stream.take(message([put(1, 'a', '1'), get(2, 'a')]));
    stream.closed();
    await rig.node.world.runFor(1_000);
    expect(stream.answers).toEqual([]);
    expect(text((await rig.get({ key: bytes('a') })).entry?.value)).toBe('1');
  });
});

describe('the bytes that pipelines hold', () => {
  test('are charged until they are answered, also when the stream goes', async () => {
    let held = 0;
    const budget = {
      tryTake: (bytes: number) => {
        if (held + bytes > 5_000_000 && held > 0) return false;
        held += bytes;
        return true;
      },
      give: (bytes: number) => {
        held -= bytes;
      },
      refusal: () =>
        new HoldfastError({ reason: 'OVERLOADED', message: 'full', outcome: 'NOT_APPLIED', retryAfterMs: 1 }),
    };
    const open = () => {
      const stream = new TestStream();
      rig.kv.pipeline({ ...rig.context(), budget }, stream);
      return stream;
    };
    const large = (from: number) =>
      message(Array.from({ length: 4 }, (_, i) => put(from + i, `k${from + i}`, 'x'.repeat(1_000_000))));
    const [first, second, gone] = [open(), open(), open()];
    first.take(large(1));
    expect(held).toBeGreaterThan(4_000_000);
    second.take(large(11));
    await rig.node.world.runUntilTrue(() => second.answers.length === 4, 5_000);
    expect(second.answers.map(({ result }) => result.case === 'error' && result.value.reason)).toEqual(
      Array(4).fill('OVERLOADED'),
    );
    await rig.node.world.runUntilTrue(() => first.answers.length === 4, 60_000);
    expect(held).toBe(0);
    gone.take(message([put(21, 'a', 'x'.repeat(1_000_000)), get(22, 'a'), put(23, 'a', 'never')]));
    gone.closed();
    expect(held).toBe(0);
    await rig.node.world.runFor(2_000);
    expect(held).toBe(0);
    expect((await rig.get({ key: bytes('a') })).entry?.value).toHaveLength(1_000_000);
  });

  test('a message of many large calls is taken, whatever the bound of one stream', async () => {
    const stream = rig.pipeline();
    for (let i = 0; i < 6; i++)
      stream.take(
        message(Array.from({ length: 7 }, (_, j) => put(i * 7 + j + 1, `k${j}`, 'x'.repeat(1_000_000)))),
      );
    await rig.node.world.runUntilTrue(() => stream.answers.length === 42, 120_000);
    expect(stream.answers.every(({ result }) => result.case === 'mutation')).toBe(true);
  });
});
