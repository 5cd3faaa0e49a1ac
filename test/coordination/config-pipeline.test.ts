/** The stream on which batches of calls travel. */
import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { errorFromMessage } from '@holdfast/client/error-mapping';
import { HoldfastError } from '@holdfast/client/error';
import {
  PipelineRequestSchema,
  PipelineResponseSchema,
  type Call,
  type CallResult,
  type PipelineResponse,
} from '@holdfast/proto/config/v1/config';
import { expect, test } from 'vitest';
import { openAccess } from '../../node/services/access.ts';
import { ConfigPipeline } from '../../node/services/config-pipeline.ts';
import type { ByteBudget, MessageStream } from '../../node/services/handler.ts';
import { FakeClock } from '../client/fake-ports.ts';

/** The transport's side of a stream. */
class Caller implements MessageStream {
  readonly answers: PipelineResponse[] = [];
  hasRoom = true;
  isPaused = false;
  end_: { readonly error: Error | undefined } | undefined;
  say: (message: Buffer) => void = () => undefined;
  halfClose: () => void = () => undefined;
  leave: () => void = () => undefined;
  drain: () => void = () => undefined;
  readonly unsentBytes = 0;

  onMessage(receive: (message: Buffer) => void): void {
    this.say = receive;
  }
  onEnd(ended: () => void): void {
    this.halfClose = ended;
  }
  onClose(closed: () => void): void {
    this.leave = closed;
  }
  onDrain(drained: () => void): void {
    this.drain = drained;
  }
  send(message: Uint8Array): boolean {
    this.answers.push(fromBinary(PipelineResponseSchema, message));
    return this.hasRoom;
  }
  pause(): void {
    this.isPaused = true;
  }
  resume(): void {
    this.isPaused = false;
  }
  end(error?: Error): void {
    this.end_ = { error };
    this.leave();
  }

  ask(id: number, calls: number, more: MessageInitShape<typeof PipelineRequestSchema> = {}): void {
    const call = { call: { case: 'get' as const, value: { key: Buffer.from('k') } } };
    const many = Array.from({ length: calls }, () => call);
    const request = create(PipelineRequestSchema, { id: BigInt(id), calls: many, ...more });
    this.say(Buffer.from(toBinary(PipelineRequestSchema, request)));
  }

  get answered(): { id: number; results: number; reason: string | undefined }[] {
    return this.answers.map(({ id, results, error }) => ({
      id: Number(id),
      results: results.length,
      reason: error && errorFromMessage(error).reason,
    }));
  }
}

interface Doing {
  readonly calls: readonly Call[];
  readonly deadlineMs: number;
  readonly done: (results?: CallResult[]) => void;
  readonly fail: (error: Error) => void;
}

function rig(limit = Infinity) {
  const clock = new FakeClock();
  const stopping = new AbortController();
  const doing: Doing[] = [];
  const observed: string[] = [];
  let charged = 0;
  const budget: ByteBudget = {
    tryTake: (bytes) => charged + bytes <= limit && ((charged += bytes), true),
    give: (bytes) => void (charged -= bytes),
    refusal: () => new HoldfastError({ reason: 'OVERLOADED', message: 'full', outcome: 'NOT_APPLIED' }),
  };
  const caller = new Caller();
  const pipeline = new ConfigPipeline(
    {
      clock,
      stopping: stopping.signal,
      observe: (operation, code) => observed.push(`${operation} ${code}`),
      batch: (calls, { deadlineMs }) =>
        new Promise((resolve, reject) => {
          const results = calls.map(
            () => ({ result: { case: 'get', value: { revision: 1n } } }) as CallResult,
          );
          doing.push({ calls, deadlineMs, done: (own = results) => resolve(own), fail: reject });
        }),
    },
    caller,
    { budget, isRouted: true, access: openAccess() },
  );
  return { pipeline, clock, stopping, doing, caller, observed, charged: () => charged };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('each batch is answered by itself, as soon as it is done', async () => {
  const { caller, doing, observed, clock } = rig();
  caller.ask(7, 2);
  caller.ask(8, 1, { timeoutMs: 250 });
  expect(doing.map(({ calls }) => calls.length)).toEqual([2, 1]);
  expect(doing.map(({ deadlineMs }) => deadlineMs - clock.monotonicMs())).toEqual([5_000, 250]);
  doing[1]!.done();
  await settled();
  expect(caller.answered).toEqual([{ id: 8, results: 1, reason: undefined }]);
  doing[0]!.done();
  await settled();
  expect(caller.answered[1]).toEqual({ id: 7, results: 2, reason: undefined });
  expect(observed).toEqual(['config_get OK', 'config_get OK', 'config_get OK']);
});

test('a batch that is refused as a whole is answered with why, and nothing of it is done', async () => {
  const { caller, doing, charged } = rig(20_000);
  caller.ask(1, 0);
  caller.ask(2, 4_097);
  caller.ask(3, 1, { timeoutMs: 300_001 });
  caller.ask(4, 100);
  caller.ask(5, 1);
  expect(caller.answered).toEqual([
    { id: 1, results: 0, reason: 'BATCH_EMPTY' },
    { id: 2, results: 0, reason: 'BATCH_TOO_LARGE' },
    { id: 3, results: 0, reason: 'INVALID_FIELD' },
    { id: 4, results: 0, reason: 'OVERLOADED' },
  ]);
  for (const { error } of caller.answers) expect(errorFromMessage(error!).outcome).toBe('NOT_APPLIED');
  expect(doing).toHaveLength(1);
  doing[0]!.fail(new HoldfastError({ reason: 'ANSWER_TOO_LARGE', message: 'no' }));
  await settled();
  expect(caller.answered[4]).toEqual({ id: 5, results: 0, reason: 'ANSWER_TOO_LARGE' });
  expect(charged()).toBe(0);
});

test('what is no message ends the stream', () => {
  const { caller, doing } = rig();
  expect(() => caller.say(Buffer.from([0xff, 0xff]))).toThrow('not a holdfast.config.v1.PipelineRequest');
  expect(doing).toEqual([]);
});

test('who does not read, or asks faster than is answered, is read no further', async () => {
  const { caller, doing } = rig();
  for (let id = 1; id <= 3; id++) caller.ask(id, 4_096);
  expect(caller.isPaused).toBe(false);
  caller.ask(4, 4_096);
  expect(caller.isPaused).toBe(true);
  doing[0]!.done();
  await settled();
  expect(caller.isPaused).toBe(false);
  caller.hasRoom = false;
  doing[1]!.done();
  await settled();
  expect(caller.isPaused).toBe(true);
  caller.hasRoom = true;
  caller.drain();
  expect(caller.isPaused).toBe(false);
});

test.each(['the caller', 'the node'])('when %s stops, what was taken is answered first', async (who) => {
  const { caller, doing, stopping } = rig();
  caller.ask(1, 1);
  if (who === 'the node') stopping.abort();
  else caller.halfClose();
  expect([caller.isPaused, caller.end_]).toEqual([true, undefined]);
  doing[0]!.done();
  await settled();
  expect(caller.answered).toEqual([{ id: 1, results: 1, reason: undefined }]);
  expect(caller.end_).toEqual({ error: undefined });
});

test('a stream that is gone costs nothing any more', async () => {
  const { caller, doing, charged, stopping } = rig();
  caller.ask(1, 3);
  expect(charged()).toBeGreaterThan(0);
  caller.leave();
  expect(charged()).toBe(0);
  doing[0]!.done();
  await settled();
  stopping.abort();
  expect([charged(), caller.answers, caller.end_]).toEqual([0, [], undefined]);
});
