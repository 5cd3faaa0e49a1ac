/** Watches of the npm package `etcd3` on three nodes that are killed one after the other: nothing is lost, nothing told twice. */
import type { IKeyValue, Watcher } from 'etcd3';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Etcd3Rig, type Client } from './etcd3-rig.ts';
import { until } from './real-node.ts';

/** Of each writer, before, between and after kills. */
const ROUNDS = 25;
const KEYS = 6;
const TOLD_MS = 20_000;

let rig: Etcd3Rig;
beforeAll(async () => {
  rig = await Etcd3Rig.start();
}, 120_000);
afterAll(async () => {
  console.log(rig.account);
  await rig[Symbol.asyncDispose]();
  expect(rig.kills).toBe(5);
});

/** A change in short; `previous`: of the value that it replaced. */
interface Told {
  readonly change: string;
  readonly key: string;
  readonly revision: number;
  readonly version: number;
  readonly previous: string | undefined;
}

/** Writes down what a watch tells, and how often it lost its stream. */
class Listener {
  readonly told: Told[] = [];
  losses = 0;
  readonly watcher: Watcher;

  constructor(watcher: Watcher) {
    this.watcher = watcher;
    const note = (kind: string) => (kv: IKeyValue, before?: IKeyValue) =>
      this.told.push({
        change: `${kind} ${kv.key.toString()}=${kv.value.toString()} @${kv.mod_revision}`,
        key: kv.key.toString(),
        revision: Number(kv.mod_revision),
        version: Number(kv.version),
        previous: before?.value.toString(),
      });
    watcher.on('put', note('put'));
    watcher.on('delete', note('delete'));
    watcher.on('disconnected', () => this.losses++);
  }

  get changes(): string[] {
    return this.told.map(({ change }) => change);
  }

  /** Resolves when it was told of this key, which is the last that is written. */
  hears(key: string): Promise<void> {
    return until(
      () => this.told.at(-1)?.key === key,
      TOLD_MS,
      () => `${this.told.length} changes were told, the last ${this.told.at(-1)?.change}`,
    );
  }
}

/** Puts and deletes in turn, by many; what is done again is another change, and told as one. */
function writers(client: Client, prefix: string): (() => Promise<void>)[] {
  return [1, 2, 3].map((writer) => {
    let at = 0;
    return () =>
      rig.patiently(async () => {
        const key = `${prefix}${(at++ * writer) % KEYS}`;
        if (at % 5 === 0) await client.delete().key(key);
        else await client.put(key).value(`${writer}.${at}`);
      });
  });
}

it('tells every change once and in order, on whatever node its stream is, with filters and former values', async () => {
  const client = rig.client();
  const first = Number((await client.put('w/first').value('x')).header.revision);
  const all = new Listener(await client.watch().prefix('w/').withPreviousKV().create());
  const deletes = new Listener(await client.watch().prefix('w/').only('delete').create());
  const one = new Listener(await client.watch().key('w/1').create());
  const elsewhere = new Listener(await rig.client().watch().prefix('w/').create());
  const late = new Listener(await rig.client().watch().prefix('w/').startRevision(`${first}`).create());
  const listeners = [all, deletes, one, elsewhere, late];
  await rig.working(writers(client, 'w/'), async (progress) => {
    for (const name of rig.cluster.names) {
      await progress(ROUNDS);
      await rig.killNode(name);
    }
    await progress(ROUNDS);
  });
  await client.put('w/1').value('last but one');
  await client.delete().key('w/1');
  await client.put('w/last').value('x');
  for (const listener of [all, elsewhere, late]) await listener.hears('w/last');
  await deletes.hears('w/1');
  await one.hears('w/1');
  // What each key was changed to follows from the change before it: a loss or a repeat would show.
  const versions = new Map<string, number>();
  const values = new Map<string, string>();
  for (const { change, key, version, previous } of all.told) {
    const isPut = change.startsWith('put');
    expect(version, change).toBe(isPut ? (versions.get(key) ?? 0) + 1 : 0);
    expect(previous, change).toBe(values.get(key));
    versions.set(key, version);
    if (isPut) values.set(key, change.slice(change.indexOf('=') + 1, change.indexOf(' @')));
    else values.delete(key);
  }
  const revisions = all.told.map(({ revision }) => revision);
  expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
  expect(Object.entries(await client.getAll().prefix('w/').strings())).toEqual(
    [...values, ['w/first', 'x']].sort(([a], [b]) => (a! < b! ? -1 : 1)),
  );
  expect(deletes.changes).toEqual(all.changes.filter((change) => change.startsWith('delete')));
  expect(one.changes).toEqual(all.told.filter(({ key }) => key === 'w/1').map(({ change }) => change));
  expect(elsewhere.changes).toEqual(all.changes);
  expect(late.changes).toEqual([`put w/first=x @${first}`, ...all.changes]);
  // And the history says the same to who comes afterwards.
  const after = new Listener(
    await client
      .watch()
      .prefix('w/')
      .startRevision(`${first + 1}`)
      .create(),
  );
  await after.hears('w/last');
  expect(after.changes).toEqual(all.changes);
  const losses = listeners.map((listener) => listener.losses);
  console.log(
    `${all.told.length} changes, ${deletes.told.length} deletes; streams lost: ${losses.join(', ')}`,
  );
  for (const count of losses) expect(count).toBeGreaterThan(0);
  expect(all.told.length).toBeGreaterThanOrEqual(4 * 3 * ROUNDS);
  expect(deletes.told.length).toBeGreaterThan(30);
}, 120_000);

it('tells a transaction in one message, and nothing more to a watch that was cancelled', async () => {
  const client = rig.client();
  const listener = new Listener(await client.watch().prefix('t/').create());
  const other = new Listener(await client.watch().prefix('t/').create());
  const messages: number[] = [];
  other.watcher.on('data', ({ events }) => events.length > 0 && messages.push(events.length));
  await client
    .if('t/1', 'Create', '==', 0)
    .then(...[1, 2, 3].map((at) => client.put(`t/${at}`).value('x')))
    .commit();
  await listener.hears('t/3');
  await listener.watcher.cancel();
  await rig.killLeader();
  await rig.patiently(async () => client.delete().prefix('t/').exec());
  await rig.patiently(async () => client.put('t/last').value('x').exec());
  await other.hears('t/last');
  expect(messages).toEqual([3, 3, 1]);
  expect(listener.told.map(({ key }) => key)).toEqual(['t/1', 't/2', 't/3']);
  expect(new Set(listener.told.map(({ revision }) => revision)).size).toBe(1);
  expect(other.told.map(({ key }) => key)).toEqual([...[1, 2, 3, 1, 2, 3].map((at) => `t/${at}`), 't/last']);
});

it('ends a watch from what is compacted, and goes on with the others of its stream', async () => {
  const client = rig.client();
  const first = Number((await client.put('c/1').value('a')).header.revision);
  const last = Number((await client.put('c/1').value('b')).header.revision);
  const listener = new Listener(await client.watch().prefix('c/').startRevision(`${first}`).create());
  await listener.hears('c/1');
  await client.kv.compact({ revision: last });
  await rig.killLeader();
  await rig.patiently(async () => {
    await expect(client.get('c/1').revision(first).exec()).rejects.toThrow(
      'etcdserver: mvcc: required revision has been compacted',
    );
  });
  await expect(
    new Promise((_, reject) => {
      const watcher = client.watch().prefix('c/').startRevision(`${first}`).watcher();
      watcher.on('error', reject);
    }),
  ).rejects.toThrow('Watcher canceled');
  await client.put('c/last').value('x');
  await listener.hears('c/last');
  expect(listener.changes).toEqual([
    `put c/1=a @${first}`,
    `put c/1=b @${last}`,
    expect.stringMatching(/^put c\/last=x/),
  ]);
});
