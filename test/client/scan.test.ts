/** How long a scan waits: for the next entries, whatever became of the calls before. */
import { create } from '@bufbuild/protobuf';
import { connect, HoldfastError } from '@holdfast/client';
import { sleep } from '@holdfast/client/clock';
import type { CallOptions } from '@holdfast/client/transport';
import {
  EntrySchema,
  ScanResponseSchema,
  type ScanRequest,
  type ScanResponse,
} from '@holdfast/proto/kv/v1/kv';
import { expect, test } from 'vitest';
import { FakeClock, FakeTransport, fixedRandom } from './fake-ports.ts';

/** What a node does in one call, a step after the other. */
type Step = { waitMs: number } | { key: string } | 'hang' | 'break';

class ScanTransport extends FakeTransport {
  readonly clock: FakeClock;
  readonly calls: { timeoutMs: number; request: ScanRequest }[] = [];
  /** Of each call. */
  readonly scripts: Step[][];

  constructor(clock: FakeClock, scripts: Step[][]) {
    super();
    this.clock = clock;
    this.scripts = scripts;
  }

  override async *serverStream(...args: unknown[]): AsyncGenerator<never> {
    const [, , request, { timeoutMs }] = args as [string, unknown, ScanRequest, CallOptions];
    this.calls.push({ timeoutMs, request: { ...request } });
    const endMs = this.clock.monotonicMs() + timeoutMs;
    for (const step of this.scripts.shift() ?? ['hang']) {
      if (step === 'break') throw new HoldfastError({ reason: 'UNAVAILABLE', message: 'gone' });
      const restMs = Math.max(0, endMs - this.clock.monotonicMs());
      const waitMs = step === 'hang' ? Infinity : 'waitMs' in step ? step.waitMs : 0;
      await sleep(this.clock, Math.min(waitMs, restMs));
      if (waitMs >= restMs) throw new HoldfastError({ reason: 'DEADLINE_EXCEEDED', message: 'late' });
      if (typeof step === 'object' && 'key' in step) yield entry(step.key) as never;
    }
  }
}

function entry(key: string): ScanResponse {
  const bytes = Buffer.from(key);
  return create(ScanResponseSchema, {
    entries: [create(EntrySchema, { key: bytes, version: 1n })],
    continuation: Buffer.concat([Buffer.of(1), bytes]),
  });
}

async function scan(scripts: Step[][], consumeMs = 0) {
  const clock = new FakeClock();
  const transport = new ScanTransport(clock, scripts);
  const client = await connect({ endpoints: ['a:1', 'b:2'], clock, transport, random: fixedRandom });
  const seen: string[] = [];
  const startedMs = clock.monotonicMs();
  let end: string | undefined;
  const run = async () => {
    try {
      for await (const { key } of client.keyspace('default').scan({ timeout: 1_000 })) {
        seen.push(Buffer.from(key).toString());
        if (consumeMs > 0) await sleep(clock, consumeMs);
      }
      end = 'done';
    } catch (error) {
      end = (error as HoldfastError).reason;
    }
  };
  void run();
  while (end === undefined && clock.monotonicMs() - startedMs < 20_000) await clock.pass(10);
  return { seen, end, tookMs: clock.monotonicMs() - startedMs, calls: transport.calls };
}

test('a call that follows a broken one has the time that was left', async () => {
  const { end, tookMs, calls } = await scan([[{ waitMs: 800 }, 'break'], ['hang']]);
  expect(end).toBe('DEADLINE_EXCEEDED');
  expect(tookMs).toBeLessThanOrEqual(1_020);
  expect(calls.length).toBeGreaterThanOrEqual(2);
});

test('what came before gives no more time to what comes next', async () => {
  const { seen, end, tookMs } = await scan([[{ key: 'a' }, 'hang'], ['hang']]);
  expect(seen).toEqual(['a']);
  expect(end).toBe('DEADLINE_EXCEEDED');
  expect(tookMs).toBeLessThanOrEqual(1_020);
});

test('a scan may take longer than its timeout while entries come', async () => {
  const part: Step[] = [{ waitMs: 600 }, { key: 'a' }, { waitMs: 600 }, { key: 'b' }];
  const { seen, end, calls } = await scan([part, [{ waitMs: 100 }, { key: 'b' }]]);
  expect(seen).toEqual(['a', 'b']);
  expect(end).toBe('done');
  expect(Buffer.from(calls[1]!.request.continuation).toString()).toBe('\u0001a');
});

test('the time that the caller takes for an entry is its own', async () => {
  const scripts: Step[][] = [[{ key: 'a' }, { key: 'b' }], [{ key: 'b' }]];
  const { seen, end } = await scan(scripts, 3_000);
  expect(seen).toEqual(['a', 'b']);
  expect(end).toBe('done');
});
