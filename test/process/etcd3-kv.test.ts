/** KV, transactions and namespaces of the npm package `etcd3` on three nodes, through leaders that are killed. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Etcd3Rig, type Client } from './etcd3-rig.ts';

const KILLS = 2;
/** Of each worker, before, between and after kills. */
const ROUNDS = 15;

let rig: Etcd3Rig;
let client: Client;
beforeAll(async () => {
  rig = await Etcd3Rig.start();
  client = rig.client();
}, 120_000);
afterAll(async () => {
  console.log(rig.account);
  await rig[Symbol.asyncDispose]();
  expect(rig.kills).toBe(7);
});

const numbers = (count: number) => Array.from({ length: count }, (_, at) => at);
type Kv = { key: Buffer; value: Buffer; create_revision: string; mod_revision: string; version: string };
/** Without its namespace, which the client leaves on what it does not turn into values. */
const told = ({ key, value, version }: Kv) =>
  `${key.toString().replace(/^.*\//, '')}=${value.toString()} ${version}`;

/** Writes and reads with each option of the client; gives the revisions of the puts. */
async function useEveryOption(on: Client): Promise<number[]> {
  const revisions: number[] = [];
  const put = async (key: string, value: string) =>
    revisions.push(Number((await on.put(key).value(value)).header.revision));
  for (const [at, key] of ['a', 'b', 'c', 'd'].entries()) await put(key, `v${9 - at}`);
  await put('b', 'w');
  expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));

  expect(await on.get('a')).toBe('v9');
  expect(await on.get('none')).toBe(null);
  expect([await on.get('a').exists(), await on.get('none').exists()]).toEqual([true, false]);
  expect(await on.get('b').buffer()).toEqual(Buffer.from('w'));
  expect(await on.get('b').revision(revisions[3]!)).toBe('v8');
  const { kvs } = await on.get('b').exec();
  const [entry] = kvs as unknown as Kv[];
  expect([entry!.create_revision, entry!.mod_revision, entry!.version].map(Number)).toEqual([
    revisions[1],
    revisions[4],
    2,
  ]);

  expect(await on.getAll().all().strings()).toEqual({ a: 'v9', b: 'w', c: 'v7', d: 'v6' });
  expect(await on.getAll().inRange({ start: 'b', end: 'd' }).keys()).toEqual(['b', 'c']);
  expect(await on.getAll().all().sort('Key', 'Descend').limit(2).keys()).toEqual(['d', 'c']);
  expect(await on.getAll().all().sort('Mod', 'Descend').keys()).toEqual(['b', 'd', 'c', 'a']);
  expect(await on.getAll().all().sort('Create', 'Ascend').keys()).toEqual(['a', 'b', 'c', 'd']);
  expect(await on.getAll().all().sort('Value', 'Ascend').keys()).toEqual(['d', 'c', 'a', 'b']);
  expect(await on.getAll().all().sort('Version', 'Descend').limit(1).keys()).toEqual(['b']);
  expect(await on.getAll().all().minModRevision(revisions[3]!).keys()).toEqual(['b', 'd']);
  expect(await on.getAll().all().maxModRevision(revisions[2]!).keys()).toEqual(['a', 'c']);
  expect(await on.getAll().all().minCreateRevision(revisions[1]!).limit(2).keys()).toEqual(['b', 'c']);
  expect(await on.getAll().all().maxCreateRevision(revisions[0]!).keys()).toEqual(['a']);
  expect(await on.getAll().all().count()).toBe(4);
  const part = await on.getAll().all().limit(3).exec();
  expect([part.more, part.count, part.kvs.length]).toEqual([true, '4', 3]);

  expect((await on.put('a').value('').getPrevious()).value.toString()).toBe('v9');
  expect(await on.get('a').buffer()).toEqual(Buffer.alloc(0));
  await on.put('a').touch();
  expect((await on.get('a').exec()).kvs[0]!.version).toBe('3');
  await expect(on.put('none').touch()).rejects.toThrow('etcdserver: key not found');

  const deleted = await on.delete().inRange({ start: 'b', end: 'd' }).getPrevious();
  expect((deleted as unknown as Kv[]).map(told)).toEqual(['b=w 2', 'c=v7 1']);
  expect((await on.delete().key('c')).deleted).toBe('0');
  expect((await on.delete().prefix('a')).deleted).toBe('1');
  expect(await on.getAll().all().keys()).toEqual(['d']);
  expect(await on.getAll().all().revision(revisions[4]!).keys()).toEqual(['a', 'b', 'c', 'd']);
  return revisions;
}

it('reads, ranges, sorts, deletes and looks back, before a leader is killed and after', async () => {
  for (const name of ['first/', 'second/', 'third/']) {
    await useEveryOption(client.namespace(name) as Client);
    await rig.killLeader();
  }
  for (const name of ['first/', 'second/', 'third/'])
    expect(await client.getAll().prefix(name).keys()).toEqual([`${name}d`]);
});

it('keeps namespaces apart, one within another too', async () => {
  const outer = client.namespace('outer/') as Client;
  const inner = outer.namespace('inner/') as Client;
  await outer.put('k').value('outer');
  await inner.put('k').value('inner');
  await client.put('k').value('bare');
  await client.put('outer0').value('behind');
  await rig.killLeader();
  await rig.patiently(async () => expect(await client.get('outer/inner/k')).toBe('inner'));
  expect(await outer.getAll().all().strings()).toEqual({ 'inner/k': 'inner', k: 'outer' });
  expect(await inner.getAll().strings()).toEqual({ k: 'inner' });
  const operations = [inner.put('then').value('1'), inner.get('k'), inner.delete().key('k')];
  const { succeeded, responses } = await inner
    .if('k', 'Value', '==', 'inner')
    .then(...operations)
    .commit();
  expect(succeeded).toBe(true);
  expect(responses[1]!.response_range!.kvs[0]!.value.toString()).toBe('inner');
  await outer.stm().transact((tx) => tx.put('stm').value('2'));
  expect(await outer.getAll().strings()).toEqual({ 'inner/then': '1', k: 'outer', stm: '2' });
  expect((await outer.delete().all()).deleted).toBe('3');
  expect([await client.get('k'), await client.get('outer0')]).toEqual(['bare', 'behind']);
});

it('goes by If, Then and Else: compares each column, and does one of both whole', async () => {
  const on = client.namespace('columns/') as Client;
  const revision = (await on.put('k').value('m')).header.revision;
  const lease = on.lease(60);
  await lease.put('leased').value('l');
  const branchOf = async (...condition: Parameters<Client['if']>) => {
    const { succeeded, responses } = await on
      .if(...condition)
      .then(on.get('k'))
      .else(on.getAll().all())
      .commit();
    expect(responses[0]!.response_range!.kvs).toHaveLength(succeeded ? 1 : 2);
    return succeeded;
  };
  const [before, after] = [Number(revision) - 1, Number(revision) + 1];
  for (const [column, less, equal, more] of [
    ['Value', 'l', 'm', 'n'],
    ['Version', 0, 1, 2],
    ['Create', before, Number(revision), after],
    ['Mod', before, Number(revision), after],
  ] as const) {
    const branches = [];
    for (const operator of ['<', '==', '!=', '>'] as const)
      for (const value of [less, equal, more]) branches.push(await branchOf('k', column, operator, value));
    const [yes, no] = [true, false];
    expect(branches, column).toEqual([no, no, yes, no, yes, no, yes, no, yes, yes, no, no]);
  }
  expect(await branchOf('leased', 'Lease', '==', await lease.grant())).toBe(true);
  expect(await branchOf('none', 'Create', '==', 0)).toBe(true);
  expect(await branchOf('none', 'Value', '!=', 'x')).toBe(false); // nothing to compare with
  await rig.killLeader();
  expect(await rig.patiently(() => branchOf('k', 'Mod', '==', revision))).toBe(true);
  const failed = await on
    .if('k', 'Mod', '==', revision)
    .and('none', 'Create', '>', 0)
    .then(on.delete().all())
    .else(on.put('k').value('else'), on.put('other').value('else'))
    .commit();
  expect(failed.succeeded).toBe(false);
  expect(await on.getAll().strings()).toEqual({ k: 'else', leased: 'l', other: 'else' });
  const [k, other] = (
    await on.getAll().inRange({ start: 'k', end: 'p' }).sort('Mod', 'Ascend').exec()
  ).kvs.filter(({ value }) => value.toString() === 'else');
  expect(k!.mod_revision).toBe(other!.mod_revision);
  await lease.revoke();
});

it('moves amounts in transactions through leaders that are killed: the sum is always the same', async () => {
  const on = client.namespace('bank/') as Client;
  const ACCOUNTS = 5;
  for (const account of numbers(ACCOUNTS)) await on.put(`${account}`).value(100);
  let refused = 0;
  /** Each move has a key of its own, so that one that was done is not done again. */
  const mover = (worker: number) => {
    let move = 0;
    return async () => {
      const receipt = `receipt/${worker}/${move++}`;
      const [from, to] = [`${(worker + move) % ACCOUNTS}`, `${(worker + 3 * move + 1) % ACCOUNTS}`];
      for (let isDone = from === to; !isDone;)
        isDone = await rig.patiently(async () => {
          const balances = await on.getAll().inRange({ start: '0', end: '9' }).numbers();
          const moves = [
            on.put(from).value(balances[from]! - 1),
            on.put(to).value(balances[to]! + 1),
            on.put(receipt).value(`${from} ${to}`),
          ];
          const { succeeded } = await on
            .if(from, 'Value', '==', balances[from]!)
            .and(to, 'Value', '==', balances[to]!)
            .and(receipt, 'Create', '==', 0)
            .then(...moves)
            .else(on.get(receipt))
            .commit()
            .then((answer) => {
              if (answer.succeeded) return answer;
              refused++;
              return { succeeded: answer.responses[0]!.response_range!.kvs.length === 1 };
            });
          return succeeded;
        });
    };
  };
  let sums = 0;
  const auditor = async () => {
    const balances = await rig.patiently(() => on.getAll().inRange({ start: '0', end: '9' }).numbers());
    expect(Object.values(balances).reduce((sum, balance) => sum + balance)).toBe(100 * ACCOUNTS);
    sums++;
  };
  await rig.throughKills(KILLS, ROUNDS, [...numbers(4).map(mover), auditor]);
  // What the receipts say is what happened, each once.
  const expected = numbers(ACCOUNTS).map(() => 100);
  const receipts = Object.values(await on.getAll().prefix('receipt/').strings());
  for (const receipt of receipts) {
    const [from, to] = receipt.split(' ').map(Number);
    expected[from!]!--;
    expected[to!]!++;
  }
  const balances = await on.getAll().inRange({ start: '0', end: '9' }).numbers();
  expect(numbers(ACCOUNTS).map((account) => balances[account])).toEqual(expected);
  console.log(`${receipts.length} moves, ${refused} refused, ${sums} sums`);
  expect(receipts.length).toBeGreaterThan(100);
  expect(sums).toBeGreaterThan(3 * ROUNDS);
});
