import { connect, HoldfastError } from '@holdfast/client';
import type { Clock, Random } from '@holdfast/client';
import { RecordBatchWriter } from '@holdfast/client/broker/record-writer';
import { FakeClock, FakeTransport } from '../fake-ports.ts';
import { FakeSessions } from '../fake-sessions.ts';
import { FakeBroker } from './fake-broker.ts';
import { FakeGroups } from './fake-groups.ts';

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

/** The clock of one client, which knows its timers. */
class CountedClock implements Clock {
  readonly #clock: FakeClock;
  /** Timers that are still to run. */
  readonly pending = new Set<object>();

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  wallMs(): number {
    return this.#clock.wallMs();
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  afterTurn(callback: () => void): void {
    this.#clock.afterTurn(callback);
  }

  setTimer(delayMs: number, callback: () => void) {
    const mark = {};
    this.pending.add(mark);
    const timer = this.#clock.setTimer(delayMs, () => {
      this.pending.delete(mark);
      callback();
    });
    return {
      cancel: () => {
        this.pending.delete(mark);
        timer.cancel();
      },
    };
  }
}

/** A client and the nodes that it talks to. */
export async function brokerWorld(seed = 1) {
  const clock = new FakeClock();
  const broker = new FakeBroker(clock, NODES);
  const sessions = new FakeSessions(clock);
  const groups = new FakeGroups(clock, broker, sessions);
  /** What becomes of a unary call: false, it does not arrive. */
  const net = { arrives: (_method: string, _client: number) => true };
  const join = async (client: number) => {
    const transport = new FakeTransport();
    transport.onUnary = (method, request, endpoint, options) => {
      const isThere = net.arrives(method, client);
      // As it is now: the client may change it for another attempt.
      const asked = { ...(request as object) };
      const answer = isThere
        ? (broker.handle(method, asked, endpoint) ??
          groups.handle(method, asked) ??
          sessions.handle(method, asked))
        : new Promise(() => undefined);
      return within(clock, answer, options);
    };
    transport.onStream = (endpoint, events) => broker.openStream(endpoint, events);
    const counted = new CountedClock(clock);
    const hf = await connect({
      endpoints: NODES,
      clock: counted,
      transport,
      random: seeded(seed + client),
    });
    return { transport, hf, counted };
  };
  return { clock, broker, sessions, groups, net, join, ...(await join(0)) };
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

/** Appends records to a partition, as some producer would; values are `topic/partition/number`. */
export function fill(
  broker: FakeBroker,
  topic: string,
  partition: number,
  count: number,
  key?: string,
): void {
  const held = broker.partition(topic, partition);
  for (let left = count; left > 0; left -= 7) {
    const writer = new RecordBatchWriter();
    for (let i = 0; i < Math.min(7, left); i += 1)
      writer.append(
        1_000,
        key === undefined ? undefined : Buffer.from(key),
        `${topic}/${partition}/${held.logEnd + i}`,
      );
    held.append(writer.finish(), 1_000);
  }
  broker.wake();
}
