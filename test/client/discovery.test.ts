/** A client that learns from one node which others there are, and asks whoever seems alive. */
import { create } from '@bufbuild/protobuf';
import { connect, HoldfastError, type Holdfast, type MemberUpdate } from '@holdfast/client';
import { Endpoints } from '@holdfast/client/endpoints';
import type { CallOptions } from '@holdfast/client/transport';
import {
  GetStatusResponseSchema,
  Liveness,
  WatchMembersResponseSchema,
  type WatchMembersResponse,
} from '@holdfast/proto/cluster/v1/cluster';
import { afterEach, expect, test } from 'vitest';
import { FakeClock, FakeTransport, fixedRandom } from './fake-ports.ts';

const { ALIVE, SUSPECT, DEAD } = Liveness;

/** One stream of `WatchMembers`, which says what the test has it say. */
class Stream {
  readonly endpoint: string;
  #said: (WatchMembersResponse | Error)[] = [];
  #wake: () => void = () => undefined;

  constructor(endpoint: string) {
    this.endpoint = endpoint;
  }

  say(states: Record<string, Liveness>, whole = false, gone: number[] = []): void {
    const members = Object.entries(states).map(([name, liveness]) => ({
      member: { id: name.charCodeAt(0) - 96, name, endpoints: { grpc: `${name}:1`, http: `${name}:2` } },
      alive: liveness === ALIVE,
      liveness,
    }));
    this.#add(create(WatchMembersResponseSchema, { whole, members, gone, node: this.endpoint[0]! }));
  }

  fail(reason: 'UNAVAILABLE' | 'UNIMPLEMENTED'): void {
    this.#add(new HoldfastError({ reason, message: 'no' }));
  }

  async *messages(signal: AbortSignal | undefined): AsyncGenerator<never> {
    for (;;) {
      for (const one of this.#said.splice(0)) {
        if (one instanceof Error) throw one;
        yield one as never;
      }
      await new Promise<void>((resolve, reject) => {
        this.#wake = resolve;
        signal?.addEventListener('abort', () => reject(cancelled()), { once: true });
      });
    }
  }

  #add(one: WatchMembersResponse | Error): void {
    this.#said.push(one);
    this.#wake();
  }
}

function cancelled(): HoldfastError {
  return new HoldfastError({ reason: 'CANCELLED', message: 'cancelled' });
}

class WatchTransport extends FakeTransport {
  readonly watches: Stream[] = [];
  readonly down = new Set<string>();

  constructor() {
    super();
    this.onUnary = (method, _, endpoint) =>
      method === 'GetStatus' && !this.down.has(endpoint)
        ? Promise.resolve(create(GetStatusResponseSchema, { clusterId: endpoint }))
        : Promise.reject(
            new HoldfastError({ reason: 'UNAVAILABLE', message: 'down', outcome: 'NOT_APPLIED' }),
          );
  }

  override serverStream(...args: unknown[]): AsyncGenerator<never> {
    const [endpoint, , , { signal }] = args as [string, unknown, unknown, CallOptions];
    const stream = new Stream(endpoint);
    this.watches.push(stream);
    if (this.down.has(endpoint)) stream.fail('UNAVAILABLE');
    return stream.messages(signal);
  }

  get last(): Stream {
    return this.watches.at(-1)!;
  }
}

let opened: Holdfast | undefined;
afterEach(() => opened?.close({ timeout: 0 }));

async function setUp(options: Parameters<typeof connect>[0] = {}) {
  const [clock, transport] = [new FakeClock(), new WatchTransport()];
  const ports = { clock, transport, random: fixedRandom };
  const client = await connect({ endpoints: 'a:1', discover: true, ...ports, ...options });
  opened = client;
  /** Which node answers now. */
  const asked = async () => {
    const call = client.status({ timeout: 5_000 });
    for (let round = 0; round < 10; round++) await clock.pass(50);
    return (await call).clusterId;
  };
  return { clock, transport, client, asked };
}

test('a client that was given one node goes on with those that it has told of', async () => {
  const { clock, transport, client, asked } = await setUp();
  expect(transport.watches).toHaveLength(0);
  expect(await asked()).toBe('a:1');
  expect(transport.watches.map(({ endpoint }) => endpoint)).toEqual(['a:1']);
  transport.last.say({ a: ALIVE, b: ALIVE, c: ALIVE }, true);
  await clock.pass(0);
  expect(client.knownNodes).toBe(3);
  transport.down.add('a:1');
  transport.last.fail('UNAVAILABLE');
  expect(await asked()).toBe('b:1');
  await clock.pass(2_000);
  expect(transport.last.endpoint).toBe('b:1');
  transport.last.say({ b: ALIVE, c: ALIVE, a: DEAD }, true);
  await clock.pass(5_000);
  expect(await asked()).toBe('b:1');
  expect(transport.unaries.at(-1)!.endpoint).toBe('b:1');
});

test('who is suspected is asked after the others, and at once when it is back', async () => {
  const { clock, transport, asked } = await setUp();
  await asked();
  transport.last.say({ a: ALIVE, b: ALIVE, c: ALIVE }, true);
  transport.last.say({ a: SUSPECT });
  await clock.pass(0);
  expect(await asked()).toBe('b:1');
  transport.last.say({ a: ALIVE });
  await clock.pass(0);
  expect(await asked()).toBe('a:1');
});

test('a node that takes most of the others for gone makes nobody doubted', async () => {
  const { clock, transport, asked } = await setUp({ endpoints: 'b:1,a:1' });
  await asked();
  transport.last.say({ a: ALIVE, b: SUSPECT, c: DEAD }, true);
  await clock.pass(0);
  expect(await asked()).toBe('b:1');
});

test('a node that does not tell is asked no more for half a minute, and calls go on', async () => {
  const { clock, transport, asked } = await setUp();
  await asked();
  transport.last.fail('UNIMPLEMENTED');
  expect(await asked()).toBe('a:1');
  await clock.pass(29_000);
  expect(transport.watches).toHaveLength(1);
  await clock.pass(2_000);
  expect(transport.watches).toHaveLength(2);
});

test('a client that does not discover, or is closed, follows nobody', async () => {
  const quiet = await setUp({ discover: false });
  await quiet.asked();
  await quiet.clock.pass(10_000);
  expect(quiet.transport.watches).toEqual([]);
  const { clock, transport, client, asked } = await setUp();
  await asked();
  await client.close({ timeout: 0 });
  await clock.pass(60_000);
  expect([transport.watches.length, clock.pendingTimers]).toEqual([1, 0]);
});

test('updates have all members and what is news, over the streams of several nodes', async () => {
  const { clock, transport, client } = await setUp({ endpoints: 'a:1,b:1', discover: false });
  const updates: MemberUpdate[] = [];
  const ending = new AbortController();
  const following = (async () => {
    for await (const update of client.cluster.watchMembers({ signal: ending.signal })) updates.push(update);
  })();
  const shown = () =>
    updates.splice(0).map(({ node, members, changed, gone }) => {
      const names = (list: MemberUpdate['members']) =>
        list.map(({ name, liveness }) => `${name} ${liveness}`).join(' ');
      return [node, names(members), names(changed), gone.join(' ')];
    });
  await clock.pass(0);
  transport.last.say({ a: ALIVE, b: SUSPECT }, true);
  transport.last.say({});
  transport.last.say({ b: ALIVE });
  await clock.pass(0);
  expect(shown()).toEqual([
    ['a', 'a alive b suspect', 'a alive b suspect', ''],
    ['a', 'a alive b alive', 'b alive', ''],
  ]);
  transport.last.fail('UNAVAILABLE');
  await clock.pass(1_000);
  expect(transport.last.endpoint).toBe('b:1');
  transport.last.say({ a: ALIVE, b: ALIVE }, true);
  transport.last.say({ c: ALIVE }, false, [1]);
  await clock.pass(0);
  expect(shown()).toEqual([['b', 'b alive c alive', 'c alive', 'a']]);
  // One that is silent for 20 s hangs.
  await clock.pass(21_000);
  expect(transport.watches).toHaveLength(3);
  ending.abort();
  await clock.pass(2_000);
  await expect(following).rejects.toMatchObject({ reason: 'CANCELLED' });
});

test('a leader that a node names is asked though it is doubted', () => {
  const endpoints = new Endpoints(['a:1', 'b:1'], new FakeClock());
  endpoints.learn([
    { endpoint: 'a:1', isAlive: false },
    { endpoint: 'b:1', isAlive: true },
  ]);
  expect(endpoints.pick('a:1')).toBe('b:1');
  endpoints.answered('a:1');
  expect(endpoints.pick('a:1')).toBe('a:1');
  endpoints.learn([{ endpoint: 'a:1', isAlive: false }]);
  endpoints.failed('b:1');
  expect(endpoints.pick()).toBe('a:1');
});
