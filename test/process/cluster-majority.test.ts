/** Five real nodes, of which two and then three are down. */
import { expect, it } from 'vitest';
import { HoldfastError, type Keyspace } from '@holdfast/client';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';
import { StallWatch } from './stall-watch.ts';

const WIDE = 'wide';
const CALL_MS = 2_000;
/** A call is over a tick of the client after its deadline; the rest is for a busy machine. */
const SLACK_MS = 1_000;

interface Written {
  readonly acknowledged: Map<string, string>;
  readonly notApplied: Map<string, string>;
  readonly unknown: Map<string, string>;
  readonly errors: HoldfastError[];
}

/** Writes keys of their own, all at once. */
async function write(kv: Keyspace, prefix: string, count: number, timeout: number): Promise<Written> {
  const written: Written = {
    acknowledged: new Map(),
    notApplied: new Map(),
    unknown: new Map(),
    errors: [],
  };
  using stalls = new StallWatch();
  const one = async (key: string) => {
    const value = `value of ${key}`;
    const tookMs = stalls.begin();
    try {
      await kv.put(key, value, { timeout });
      written.acknowledged.set(key, value);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      written.errors.push(error);
      written[error.outcome === 'NOT_APPLIED' ? 'notApplied' : 'unknown'].set(key, value);
    }
    expect(tookMs()).toBeLessThan(timeout + SLACK_MS);
  };
  await Promise.all(Array.from({ length: count }, (_, at) => one(`${prefix}/${at}`)));
  return written;
}

async function expectThere(kv: Keyspace, written: Written): Promise<void> {
  const keys = [...written.acknowledged.keys()];
  const entries = await kv.getMany(keys, { timeout: 30_000 });
  keys.forEach((key, at) => expect(entries[at]?.text(), key).toBe(written.acknowledged.get(key)));
}

/** A node with too few others up. */
async function saysWhatItWaitsFor(cluster: RealCluster, name: string): Promise<void> {
  let answer: { status: number; text: string } | undefined;
  await until(
    async () => /majority/.test((answer = await cluster.readiness(name))?.text ?? ''),
    30_000,
    () => `/readyz says ${answer?.status} ${answer?.text}`,
  );
  expect(answer!.status).toBe(503);
  expect(answer!.text).toMatch(
    /knows no leader.*majority of its members must be up.*n1 \w+, n2 \w+, n4 \w+, n5 \w+/,
  );
  expect((await cluster.answer(name)).waitsFor).toMatch(/majority/);
}

/** After some seconds neither a write nor a read waits for its deadline any more. */
async function untilRefusedAtOnce(kv: Keyspace): Promise<HoldfastError> {
  const timeout = 20_000;
  const failed = (error: unknown) => error as HoldfastError;
  for (const call of [() => kv.put('all/0', 'never', { timeout }), () => kv.get('all/0', { timeout })]) {
    const startMs = performance.now();
    const error = await call().then(() => undefined, failed);
    expect(error?.reason).toBe('NO_LEADER');
    expect(performance.now() - startMs).toBeLessThan(timeout / 2);
  }
  const error = await kv.put('all/0', 'never', { timeout }).then(() => undefined, failed);
  expect(error).toMatchObject({ reason: 'NO_LEADER', outcome: 'NOT_APPLIED' });
  return error as HoldfastError;
}

it('five nodes go on with two down, refuse and say so with three down, and go on again', async () => {
  await using cluster = await RealCluster.start({ nodes: 5 });
  const client = await cluster.connect({ timeout: '30s' });
  await client.keyspaces.create(WIDE, { replication: 5, partitions: 4 });
  const kv = client.keyspace(WIDE);
  const all = await write(kv, 'all', 200, 30_000);
  expect(all.acknowledged.size).toBe(200);

  await Promise.all(['n1', 'n4'].map((name) => cluster.node(name).kill()));
  const two = await write(kv, 'two', 200, 30_000);
  expect(two.acknowledged.size, two.errors[0]?.message).toBe(200);
  await expectThere(kv, all);
  await expectThere(kv, two);

  await cluster.node('n2').kill();
  const three = await write(kv, 'three', 100, CALL_MS);
  // In the first moments the nodes that are up may still name the one that was killed.
  const refused = await untilRefusedAtOnce(kv);
  const again = await write(kv, 'again', 100, CALL_MS);
  expect([three.acknowledged.size, again.acknowledged.size]).toEqual([0, 0]);
  using stalls = new StallWatch();
  const tookMs = stalls.begin();
  const read = await kv.get('all/0', { timeout: CALL_MS }).catch((error: unknown) => error as HoldfastError);
  expect(read).toBeInstanceOf(HoldfastError);
  expect(tookMs()).toBeLessThan(CALL_MS + SLACK_MS);
  const told = [...three.errors, ...again.errors];
  for (const { reason, message } of again.errors) expect(reason, message).toBe('NO_LEADER');
  for (const { reason, outcome, message } of told)
    if (reason === 'NO_LEADER')
      expect(message.includes('Nothing was written'), message).toBe(outcome === 'NOT_APPLIED');
  expect(refused.message).toMatch(
    /3 must be up and reach each other, and this node hears n[35].*not n1, n2, n4/,
  );
  const kinds = Object.entries(Object.groupBy(told, ({ reason, outcome }) => `${reason} ${outcome}`));
  console.log(
    `with three of five down: ${kinds.map(([kind, errors]) => `${kind} ${errors!.length}`).join(', ')}; ` +
      `a read: ${(read as HoldfastError).message}; a write: ${again.errors[0]!.message}`,
  );

  await cluster.node('n3').kill();
  cluster.spawn('n3');
  await saysWhatItWaitsFor(cluster, 'n3');
  for (const name of ['n1', 'n2', 'n4']) cluster.spawn(name);
  await cluster.ready();
  for (const written of [all, two, three, again]) await expectThere(kv, written);
  for (const { notApplied, unknown } of [three, again]) {
    const refused = await kv.getMany(notApplied.keys(), { timeout: 30_000 });
    expect(refused.filter((entry) => entry !== undefined)).toEqual([]);
    for (const [key, value] of unknown) expect([undefined, value]).toContain((await kv.get(key))?.text());
  }
  await cluster.caughtUp();
}, 240_000);
