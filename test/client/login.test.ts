import { create, type DescMessage, type DescMethodUnary, type MessageShape } from '@bufbuild/protobuf';
import { AuthService, LoginResponseSchema } from '@holdfast/proto/auth/v1/auth';
import { GetRequestSchema, GetResponseSchema, KvService } from '@holdfast/proto/kv/v1/kv';
import { beforeEach, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { LoginTransport } from '../../client/login.ts';
import { resolveOptions } from '../../client/options.ts';
import type { StreamConnection, StreamEvents, Transport } from '../../client/transport.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';

/** A cluster as seen by a client: takes the tokens that it made, until it is told not to. */
class FakeCluster {
  readonly taken = new Set<string>();
  /** What calls showed. */
  readonly shown: (string | undefined)[] = [];
  logins = 0;
  password = 'right';
  isEnabled = true;
  readonly streams: StreamEvents[] = [];
  token: () => string | undefined = () => undefined;

  readonly transport: Transport = {
    unary: async <I extends DescMessage, O extends DescMessage>(
      _: string,
      method: DescMethodUnary<I, O>,
      request: MessageShape<I>,
    ) => {
      if ((method as unknown) === AuthService.method.login)
        return this.#login(request as unknown as { password: string }) as unknown as MessageShape<O>;
      this.#check();
      return create(GetResponseSchema) as unknown as MessageShape<O>;
    },
    serverStream: async function* () {},
    openStream: (_, __, events) => {
      this.shown.push(this.token());
      this.streams.push(events);
      return { send: () => true, halfClose: () => undefined, cancel: () => undefined } as StreamConnection;
    },
    close: () => undefined,
  };

  #login({ password }: { password: string }) {
    this.logins++;
    if (!this.isEnabled) throw new HoldfastError({ reason: 'AUTH_NOT_ENABLED', message: 'none' });
    if (password !== this.password) throw new HoldfastError({ reason: 'LOGIN_FAILED', message: 'wrong' });
    const token = `token ${this.logins}`;
    this.taken.add(token);
    return create(LoginResponseSchema, { token, ttlMs: 10_000n });
  }

  #check(): void {
    const token = this.token();
    this.shown.push(token);
    if (!this.isEnabled || (token !== undefined && this.taken.has(token))) return;
    const reason = token === undefined ? 'UNAUTHENTICATED' : 'TOKEN_INVALID';
    throw new HoldfastError({ reason, message: 'not taken', outcome: 'NOT_APPLIED' });
  }
}

let cluster: FakeCluster;
let world: SimulatedScheduler;
let clock: SimulatedClock;
let transport: LoginTransport;

beforeEach(() => {
  cluster = new FakeCluster();
  world = new SimulatedScheduler();
  clock = new SimulatedClock(new SimulatedProcess(world), { wallStartMs: 0 });
  transport = new LoginTransport({ user: 'alice', password: () => 'right' }, clock, (token) => {
    cluster.token = token;
    return cluster.transport;
  });
});

const pass = (ms: number) =>
  world.settle(new Promise<void>((resolve) => clock.setTimer(ms, resolve)), ms + 1);
const call = () =>
  transport.unary('n1', KvService.method.get, create(GetRequestSchema), { timeoutMs: 1_000 });

test('logs in once for all calls, and again before the token ends', async () => {
  await Promise.all([call(), call(), call()]);
  expect(cluster.logins).toBe(1);
  expect(cluster.shown).toEqual(['token 1', 'token 1', 'token 1']);
  await pass(7_900);
  await call();
  expect(cluster.logins).toBe(1);
  await pass(200);
  await call();
  expect(cluster.shown.at(-1)).toBe('token 2');
});

test('logs in again when a token is not taken any more, and sends what was refused once more', async () => {
  await call();
  cluster.taken.clear();
  await Promise.all([call(), call()]);
  expect(cluster.logins).toBe(2);
  expect(cluster.shown.slice(-2)).toEqual(['token 2', 'token 2']);
});

test('shows nothing where nobody is asked, until somebody is', async () => {
  cluster.isEnabled = false;
  await call();
  await call();
  expect([cluster.logins, cluster.shown]).toEqual([1, [undefined, undefined]]);
  cluster.isEnabled = true;
  await call();
  expect(cluster.shown.at(-1)).toBe('token 2');
});

test('says so when the password is wrong, and of the call that it was not made', async () => {
  cluster.password = 'another';
  await expect(call()).rejects.toMatchObject({ reason: 'LOGIN_FAILED', outcome: 'NOT_APPLIED' });
  expect(cluster.shown).toEqual([]);
});

test('a stream begins with a login, and ends so that another begins when its token is not taken', async () => {
  const ends: (HoldfastError | undefined)[] = [];
  const events: StreamEvents = {
    onOpen: () => undefined,
    onMessage: () => undefined,
    onDrain: () => undefined,
    onEnd: (error) => ends.push(error),
  };
  const open = () => transport.openStream('n1', KvService.method.pipeline, events);
  expect(open().send(new Uint8Array(1))).toBe(false);
  await expect.poll(() => cluster.streams.length).toBe(1);
  expect(cluster.shown).toEqual(['token 1']);
  cluster.streams[0]!.onEnd(new HoldfastError({ reason: 'TOKEN_INVALID', message: 'over' }));
  expect(ends.map((error) => error!.reason)).toEqual(['UNAVAILABLE']);
  open();
  await expect.poll(() => cluster.streams.length).toBe(2);
  expect(cluster.shown.at(-1)).toBe('token 2');
});

test('is what options and the environment say', () => {
  const login = (options: object, environment = {}) => resolveOptions(options, environment).login;
  expect(login({})).toBeUndefined();
  expect(login({}, { HOLDFAST_USER: 'alice' })).toBeUndefined();
  expect(login({}, { HOLDFAST_USER: 'alice', HOLDFAST_PASSWORD: 'p' })).toEqual({
    user: 'alice',
    password: 'p',
  });
  const given = { user: 'bob', password: 'q' };
  expect(login({ login: given }, { HOLDFAST_USER: 'alice', HOLDFAST_PASSWORD: 'p' })).toBe(given);
});
