import { connect, HoldfastError } from '@holdfast/client';
import type { Random } from '@holdfast/client';
import { FakeClock, FakeTransport } from '../fake-ports.ts';
import { FakeBroker } from './fake-broker.ts';

export const NODES = ['a:1', 'b:1', 'c:1'];

/** Random numbers that are the same each time. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  const u32 = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state ^ (state >>> 15)) >>> 0;
  };
  return {
    u32,
    float: () => u32() / 2 ** 32,
    bytes: (length) => Uint8Array.from({ length }, () => u32() & 255),
  };
}

/** A client and the nodes that it talks to. */
export async function brokerWorld(seed = 1) {
  const clock = new FakeClock();
  const transport = new FakeTransport();
  const broker = new FakeBroker(clock, NODES);
  transport.onUnary = (method, request, endpoint, options) => {
    const answer = broker.handle(method, request, endpoint);
    if (answer === undefined) return Promise.reject(new Error(method));
    return within(clock, answer, options);
  };
  transport.onStream = (endpoint, events) => broker.openStream(endpoint, events);
  const hf = await connect({ endpoints: NODES, clock, transport, random: seeded(seed) });
  return { clock, transport, broker, hf };
}

/** As the network does: an answer in time, or an error. */
export function within(
  clock: FakeClock,
  answer: Promise<unknown>,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const end = (reason: string) => () => reject(new HoldfastError({ reason, message: 'not answered' }));
    const timer = clock.setTimer(timeoutMs, end('DEADLINE_EXCEEDED'));
    signal?.addEventListener('abort', end('CANCELLED'), { once: true });
    answer.then(
      (value) => {
        timer.cancel();
        resolve(value);
      },
      (error: Error) => {
        timer.cancel();
        reject(error);
      },
    );
  });
}

/** What a promise has come to so far. */
export function watch<T>(promise: Promise<T>) {
  const seen: { value?: T; error?: HoldfastError; settled: boolean } = { settled: false };
  promise.then(
    (value) => {
      seen.value = value;
      seen.settled = true;
    },
    (error: HoldfastError) => {
      seen.error = error;
      seen.settled = true;
    },
  );
  return seen;
}
