/**
 * Configuration, leases, locks, elections and sequences over plain HTTP, as scripts use them, on
 * three nodes whose leader of group 0 is killed again and again.
 */
import { expect, it } from 'vitest';
import { COORDINATION_GROUP } from '../../node/raft/members.ts';
import { PlainHttp } from './plain-http.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const GROUP = BigInt(COORDINATION_GROUP);
const KILLS = 4;
/** Rounds of each before the next kill. */
const BETWEEN = 5;
/** Longer than the test: nobody keeps them alive. */
const TTL = '10m';

/** A script that does one thing again and again. */
abstract class Script {
  readonly http: PlainHttp;
  rounds = 0;

  constructor(cluster: RealCluster, first: number) {
    this.http = new PlainHttp(cluster, first);
  }

  abstract round(): Promise<void>;

  async run(isOver: () => boolean): Promise<void> {
    for (; !isOver(); this.rounds++) await this.round();
  }

  async session(name: string): Promise<string> {
    return (await this.http.ask<{ lease: string }>('POST', `/v1/leases?ttl=${TTL}&name=${name}`)).lease;
  }
}

/** One key, each change on condition of the one before it. */
class Chain extends Script {
  readonly values: string[] = [];
  #etag = '';

  async round(): Promise<void> {
    const body = `value ${this.rounds}`;
    const headers: Record<string, string> =
      this.rounds === 0 ? { 'if-none-match': '*' } : { 'if-match': `"${this.#etag}"` };
    const put = await this.http.send('PUT', '/v1/config/chain/key', { body, headers });
    const got = await this.http.send('GET', '/v1/config/chain/key');
    // Nobody else writes it: a condition that does not hold was met by the same request before.
    if (put.status !== 412 || !put.isRepeated) expect(put.status, put.text).toBeLessThan(300);
    expect(got.text).toBe(body);
    this.#etag = got.etag;
    this.values.push(body);
  }

  /** Changes that the cluster counted. */
  async version(): Promise<number> {
    const { text } = await this.http.send('GET', '/v1/config?prefix=chain/');
    return Number((JSON.parse(text.split('\n')[0]!) as { version: string }).version);
  }
}

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** Moves one unit after the other from a key to another one, by the calls of gRPC as JSON. */
class Ledger extends Script {
  static readonly units = 100_000;
  readonly #clientId = base64('ledger 123456789');

  async round(): Promise<void> {
    const moved = (count: number) => ({
      'ledger/from': String(Ledger.units - count),
      'ledger/to': String(count),
    });
    const before = Object.entries(this.rounds === 0 ? {} : moved(this.rounds));
    const sequence = String(this.rounds + 1);
    const request = {
      // Applied a second time it would not find what it compares with.
      transaction: {
        comparisons: before.map(([key, value]) => ({
          selection: { key: base64(key) },
          value: base64(value),
        })),
        thenOperations: Object.entries(moved(this.rounds + 1)).map(([key, value]) => ({
          put: { key: base64(key), value: base64(value) },
        })),
      },
      sequence: { clientId: this.#clientId, sequence, ackedBelow: sequence, open: this.rounds === 0 },
    };
    const answer = await this.http.send('POST', '/holdfast.config.v1.ConfigService/Transact', {
      body: JSON.stringify(request),
      headers: { 'content-type': 'application/json' },
    });
    expect(answer.status, answer.text).toBe(200);
    expect(JSON.parse(answer.text)).toMatchObject({ succeeded: true });
  }
}

interface Line {
  readonly type?: string;
  readonly revision: string;
  readonly events?: { readonly type: string; readonly key: string; readonly value: string }[];
}

/** Follows the chain over as many connections as it takes. */
class Follower extends Script {
  readonly values: string[] = [];
  readonly #stop = new AbortController();
  #from = 1n;

  stop(): void {
    this.#stop.abort();
  }

  async round(): Promise<void> {
    try {
      const path = `/v1/config?prefix=chain/&watch=true&from=${this.#from}`;
      const { body, status } = await fetch(`${this.http.url}${path}`, { signal: this.#stop.signal });
      let rest = '';
      if (status === 200)
        for await (const text of body!.pipeThrough(new TextDecoderStream())) {
          const lines = (rest + text).split('\n');
          rest = lines.pop()!;
          for (const line of lines) this.#take(JSON.parse(line) as Line);
        }
    } catch (error) {
      if (error instanceof Error && error.name === 'AssertionError') throw error;
    }
    await this.http.turn();
  }

  #take({ type, revision, events }: Line): void {
    if (type !== 'changes' && type !== 'progress') return;
    if (type === 'changes') expect(BigInt(revision)).toBeGreaterThanOrEqual(this.#from);
    this.#from = BigInt(revision) + 1n;
    for (const event of events ?? []) this.values.push(event.value);
  }
}

class Sequence extends Script {
  readonly firsts: number[] = [];

  async round(): Promise<void> {
    const answer = await this.http.ask<{ first: string }>('POST', '/v1/sequences/orders?count=3');
    this.firsts.push(Number(answer.first));
  }
}

/** Who is where only one may be. */
class Room {
  inside = 0;
  greatest = 0n;
}

class Visitor extends Script {
  readonly #room: Room;
  #session: string | undefined;

  constructor(cluster: RealCluster, first: number, room: Room) {
    super(cluster, first);
    this.#room = room;
  }

  async round(): Promise<void> {
    this.#session ??= await this.session('visitor');
    const path = `/v1/locks/room?session=${this.#session}&request_id=${this.rounds}`;
    const answer = await this.http.send('POST', `${path}&wait=4s`);
    if (answer.reason === 'LOCK_TIMED_OUT') return;
    expect(answer.status, answer.text).toBe(200);
    const token = BigInt((JSON.parse(answer.text) as { token: string }).token);
    expect(token).toBeGreaterThan(this.#room.greatest);
    this.#room.greatest = token;
    this.#room.inside++;
    const other = await this.http.send('GET', '/v1/locks/room');
    expect(
      (JSON.parse(other.text) as { holders: { token: string }[] }).holders.map((one) => one.token),
    ).toEqual([String(token)]);
    expect(this.#room.inside).toBe(1);
    this.#room.inside--;
    await this.http.end(`${path}&token=${token}`, 'LOCK_NOT_HELD');
  }
}

/** A key that ends with its lease. */
class Tenant extends Script {
  async round(): Promise<void> {
    const lease = await this.session('tenant');
    const key = `tenants/${this.rounds}`;
    await this.http.ask('PUT', `/v1/config/${key}?lease=${lease}`, 'here');
    await this.http.ask('POST', `/v1/leases/${lease}`);
    const described = await this.http.ask<{ keys: { key: string }[] }>('GET', `/v1/leases/${lease}`);
    expect(described.keys).toEqual([{ key }]);
    expect((await this.http.send('GET', `/v1/config/${key}`)).text).toBe('here');
    await this.http.end(`/v1/leases/${lease}`, 'LEASE_UNKNOWN');
    expect((await this.http.send('GET', `/v1/config/${key}`)).status).toBe(404);
  }
}

class Candidate extends Script {
  #greatest = 0n;

  async round(): Promise<void> {
    const session = await this.session('candidate');
    const path = `/v1/elections/chair?session=${session}`;
    const { token } = await this.http.ask<{ token: string }>('POST', `${path}&wait=4s`, 'first');
    expect(BigInt(token)).toBeGreaterThan(this.#greatest);
    this.#greatest = BigInt(token);
    await this.http.ask('PUT', `${path}&token=${token}`, 'second');
    const { leader } = await this.http.ask<{ leader: Record<string, string> }>('GET', '/v1/elections/chair');
    expect(leader).toMatchObject({ session, token, value: 'second' });
    await this.http.end(`${path}&token=${token}`, 'NOT_ELECTED');
    await this.http.end(`/v1/leases/${session}`, 'LEASE_UNKNOWN');
  }
}

it('scripts lose nothing and see nothing twice while leaders are killed', async () => {
  await using cluster = await RealCluster.start();
  const room = new Room();
  const chain = new Chain(cluster, 0);
  // At the node that is killed first.
  const follower = new Follower(cluster, cluster.names.indexOf(await cluster.leaderOf(GROUP)));
  const sequences = [0, 1].map((first) => new Sequence(cluster, first));
  const visitors = [1, 2].map((first) => new Visitor(cluster, first, room));
  const ledger = new Ledger(cluster, 2);
  const scripts = [
    chain,
    ledger,
    ...sequences,
    ...visitors,
    new Tenant(cluster, 2),
    new Candidate(cluster, 0),
  ];
  let failure: unknown;
  let isOver = false;
  const running = scripts.map((script) =>
    script.run(() => isOver || failure !== undefined).catch((error: unknown) => (failure ??= error)),
  );
  let isTold = false;
  const following = follower.run(() => isTold).catch((error: unknown) => (failure ??= error));
  const progress = async () => {
    const goals = scripts.map(({ rounds }) => rounds + BETWEEN);
    await until(
      () => failure !== undefined || scripts.every(({ rounds }, at) => rounds >= goals[at]!),
      60_000,
      () => `at ${scripts.map(({ rounds }) => rounds).join(', ')} of ${goals.join(', ')}`,
    );
    if (failure !== undefined) throw failure;
  };
  await progress();
  for (let kill = 0; kill < KILLS; kill++) {
    const leader = await cluster.leaderOf(GROUP);
    await cluster.node(leader).kill();
    await progress();
    await cluster.restart(leader);
  }
  await progress();
  isOver = true;
  await Promise.all(running);
  await until(
    () => failure !== undefined || follower.values.length >= chain.values.length,
    30_000,
    () => `${follower.values.length} of ${chain.values.length} changes were told`,
  );
  isTold = true;
  follower.stop();
  await following;
  if (failure !== undefined) throw failure;
  const repeats = scripts.reduce((sum, { http }) => sum + http.repeats, 0);
  console.log(
    `${KILLS} leaders killed, rounds ${scripts.map(({ rounds }) => rounds).join(', ')}, ${repeats} requests sent again, watched over ${follower.rounds} connections`,
  );
  expect(follower.values).toEqual(chain.values);
  expect(await chain.version()).toBe(chain.values.length);
  const { text } = await chain.http.send('GET', '/v1/config?prefix=ledger/');
  const accounts = text.trim().split('\n').slice(0, 2);
  expect(accounts.map((line) => JSON.parse(line) as object)).toMatchObject([
    { key: 'ledger/from', value: String(Ledger.units - ledger.rounds), version: String(ledger.rounds) },
    { key: 'ledger/to', value: String(ledger.rounds), version: String(ledger.rounds) },
  ]);
  const firsts = sequences.map((sequence) => sequence.firsts);
  for (const some of firsts) expect(some).toEqual(some.toSorted((a, b) => a - b));
  expect(new Set(firsts.flat()).size).toBe(firsts.flat().length);
  // Numbers of a request that was sent again may be left out; none is given to two.
  expect(firsts.flat().every((first) => first % 3 === 1)).toBe(true);
  expect(repeats).toBeGreaterThan(KILLS);
  expect(follower.rounds).toBeGreaterThan(1);
}, 180_000);
