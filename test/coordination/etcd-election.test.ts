/** Elections by etcd's API: the keys, the order and the words of etcd's. */
import { Auth } from '@holdfast/proto/etcd/rpc';
import { Election, type LeaderKey, type LeaderResponse } from '@holdfast/proto/etcd/v3election';
import { beforeEach, describe, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { BegunCall, BegunStream } from './begun-call.ts';
import { EtcdRig, ask, bytes, kv, lease, text } from './etcd-rig.ts';

const { campaign, proclaim, leader, observe, resign } = Election.method;
const NOT_LEADER = 'UNKNOWN election: not leader';
const NO_LEADER = 'UNKNOWN election: no leader';

let etcd: EtcdRig;

beforeEach(async () => {
  etcd = await EtcdRig.open();
  for (const ID of [1n, 2n, 3n]) await etcd.call(lease.leaseGrant, { TTL: 600n, ID });
});

const settled = () => etcd.rig.pass(200);
const name = bytes('e');

/** A campaign as it goes on. */
function campaigning(id: bigint, value: string, token?: string) {
  return BegunCall.begin(etcd.rig, campaign, { name, lease: id, value: bytes(value) }, token);
}

async function elected(id: bigint, value: string): Promise<LeaderKey> {
  return (await etcd.call(campaign, { name, lease: id, value: bytes(value) })).leader!;
}

const shown = ({ kv: entry }: LeaderResponse) => `${text(entry?.key)}=${text(entry?.value)}`;
const leads = async () => shown(await etcd.call(leader, { name }));

describe('whoever campaigns', () => {
  test('leads by the oldest key of the name, which says its value and ends with its lease', async () => {
    const one = await elected(1n, 'a');
    expect({ key: text(one.key), name: text(one.name), lease: one.lease }).toEqual({
      key: 'e/1',
      name: 'e',
      lease: 1n,
    });
    const { kvs } = await etcd.call(kv.range, ask.range('e/1'));
    expect(kvs[0]).toMatchObject({ createRevision: one.rev, lease: 1n });
    expect(await leads()).toBe('e/1=a');
    await etcd.call(lease.leaseRevoke, { ID: 1n });
    expect(await etcd.told(leader, { name })).toBe(NO_LEADER);
  });

  test('leads one after the other, in the order in which they came', async () => {
    const calls = [campaigning(2n, 'b')];
    await settled();
    for (const [id, value] of [
      [3n, 'c'],
      [1n, 'a'],
    ] as const) {
      calls.push(campaigning(id, value));
      await settled();
    }
    const said = [];
    for (const call of calls) {
      expect(calls.filter(({ isOver }) => isOver)).toHaveLength(calls.indexOf(call) + 1);
      said.push(await leads());
      await etcd.call(resign, { leader: call.answer!.leader! });
      await settled();
    }
    expect(said).toEqual(['e/2=b', 'e/3=c', 'e/1=a']);
    expect(await etcd.told(leader, { name })).toBe(NO_LEADER);
  });

  test('again with the same lease keeps its place, and says what it says now', async () => {
    const first = await elected(1n, 'a');
    const again = await elected(1n, 'b');
    expect(again.rev).toBe(first.rev);
    expect(await leads()).toBe('e/1=b');
  });

  test('and gives up is not elected later; one whose lease has ended is told so', async () => {
    const one = await elected(1n, 'a');
    const [second, third] = [campaigning(2n, 'b'), campaigning(3n, 'c')];
    await settled();
    second.giveUp();
    await settled();
    expect(await etcd.values('e/', 'e0')).toEqual(['e/1=a', 'e/3=c']);
    await etcd.call(lease.leaseRevoke, { ID: 3n });
    await settled();
    expect(third.failure).toBe('UNKNOWN session is expired: its key is gone');
    await etcd.call(resign, { leader: one });
    expect(await etcd.told(leader, { name })).toBe(NO_LEADER);
  });

  test('needs a lease that there is', async () => {
    expect(await etcd.told(campaign, { name, lease: 77n })).toBe(
      'NOT_FOUND etcdserver: requested lease not found',
    );
  });
});

describe('whoever leads', () => {
  test('says something else for as long as it does', async () => {
    const one = await elected(1n, 'a');
    expect(await etcd.told(proclaim, { leader: one, value: bytes('b') })).toBeUndefined();
    expect(await leads()).toBe('e/1=b');
    const { kvs } = await etcd.call(kv.range, ask.range('e/1'));
    expect(kvs[0]).toMatchObject({ createRevision: one.rev, version: 2n, lease: 1n });
    await etcd.call(resign, { leader: one });
    expect(await etcd.told(proclaim, { leader: one, value: bytes('c') })).toBe(NOT_LEADER);
    expect(await etcd.told(leader, { name })).toBe(NO_LEADER);
  });

  test('does not speak for a later leadership with the same key', async () => {
    const before = await elected(1n, 'a');
    await etcd.call(resign, { leader: before });
    const after = await elected(1n, 'b');
    expect(await etcd.told(proclaim, { leader: before, value: bytes('c') })).toBe(NOT_LEADER);
    await etcd.call(resign, { leader: before }); // of what is over already
    expect(await leads()).toBe('e/1=b');
    await etcd.call(resign, { leader: after });
    expect(await etcd.told(leader, { name })).toBe(NO_LEADER);
  });

  test('is named to Proclaim and to Resign', async () => {
    const missing = 'UNKNOWN "leader" field must be provided';
    expect(await etcd.told(proclaim, { value: bytes('b') })).toBe(missing);
    expect(await etcd.told(resign, {})).toBe(missing);
  });
});

describe('whoever observes', () => {
  test('is told who leads, all that it says, and who is next', async () => {
    const one = await elected(1n, 'a');
    const stream = BegunStream.begin(etcd.rig, observe, { name });
    await settled();
    for (const value of ['b', 'c']) await etcd.call(proclaim, { leader: one, value: bytes(value) });
    const second = campaigning(2n, 'x');
    await settled();
    await etcd.call(resign, { leader: one });
    await settled();
    await etcd.call(proclaim, { leader: second.answer!.leader!, value: bytes('y') });
    await settled();
    expect(stream.answers.map(shown)).toEqual(['e/1=a', 'e/1=b', 'e/1=c', 'e/2=x', 'e/2=y']);
    const revisions = stream.answers.map(({ header }) => header!.revision);
    expect(revisions).toEqual([...revisions].sort((a, b) => Number(a - b)));
    stream.giveUp();
    await settled();
    expect(stream.end).toBe('OK');
    expect(etcd.rig.engine.configuration.watches.size).toBe(0);
  });

  test('waits for the first one, for as long as it takes', async () => {
    const stream = BegunStream.begin(etcd.rig, observe, { name });
    await etcd.rig.pass(400_000);
    expect({ answers: stream.answers, end: stream.end }).toEqual({ answers: [], end: undefined });
    await elected(1n, 'a');
    await settled();
    expect(stream.answers.map(shown)).toEqual(['e/1=a']);
  });

  test('is told everything, however much a leader says at once', async () => {
    const one = await elected(1n, 'a');
    const stream = BegunStream.begin(etcd.rig, observe, { name });
    await settled();
    const values = Array.from({ length: 600 }, (_, at) => `v${at}`);
    for (const value of values) BegunCall.begin(etcd.rig, proclaim, { leader: one, value: bytes(value) });
    await etcd.rig.pass(5_000);
    expect(stream.answers.map(shown)).toEqual(['e/1=a', ...values.map((value) => `e/1=${value}`)]);
  });

  test('ends when the node stops, and when the permission goes', async () => {
    const { rig } = etcd;
    await rig.addRole('team', ['e/', 'e0']);
    await rig.addUser('root', 'pw', 'root');
    await rig.addUser('alice', 'pw', 'team');
    await rig.run(rig.engine.auth.enable(rig.terms));
    const [root, alice] = [await rig.login('root', 'pw'), await rig.login('alice', 'pw')];
    etcd.token = alice;
    const DENIED = 'PERMISSION_DENIED etcdserver: permission denied';
    const other = { name: bytes('f') };
    expect(await etcd.told(leader, other)).toBe(DENIED);
    expect(await etcd.told(campaign, { ...other, lease: 1n })).toBe(DENIED);
    const one = await elected(1n, 'a');
    const [hers, ofRoot] = [alice, root].map((token) => BegunStream.begin(rig, observe, { name }, token));
    await settled();
    etcd.token = root;
    await etcd.call(Auth.method.userRevokeRole, { name: 'alice', role: 'team' });
    await etcd.call(proclaim, { leader: one, value: bytes('secret') });
    await settled();
    expect(hers!.answers.map(shown)).toEqual(['e/1=a']);
    expect(hers!.end).toBe(DENIED);
    expect(ofRoot!.answers.map(shown)).toEqual(['e/1=a', 'e/1=secret']);
    rig.stopping.abort(new HoldfastError({ reason: 'SHUTTING_DOWN', message: 'stopping' }));
    await settled();
    expect(ofRoot!.end).toBe('UNAVAILABLE etcdserver: server stopped');
  });
});
