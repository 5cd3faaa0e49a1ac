/** What operators ask a node by etcd's API. */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { sizeDelimitedDecodeStream } from '@bufbuild/protobuf/wire';
import { KeyValueSchema } from '@holdfast/proto/etcd/kv';
import { AlarmRequest_AlarmAction as Action, AlarmType, Maintenance } from '@holdfast/proto/etcd/rpc';
import { beforeEach, describe, expect, test } from 'vitest';
import { etcdId } from '../../node/services/etcd/etcd-header.ts';
import { BegunStream } from './begun-call.ts';
import { EtcdRig, ask, kv, lease, text } from './etcd-rig.ts';

const { alarm, defragment, hash, hashKV, moveLeader, snapshot, status } = Maintenance.method;
const FUTURE = 'OUT_OF_RANGE etcdserver: mvcc: required revision is a future revision';
const COMPACTED = 'OUT_OF_RANGE etcdserver: mvcc: required revision has been compacted';

let etcd: EtcdRig;

beforeEach(async () => {
  etcd = await EtcdRig.open();
});

test('Status says who leads, and how far the node is', async () => {
  const before = await etcd.call(status, {});
  const revision = await etcd.put('a', 'some value');
  const after = await etcd.call(status, {});
  expect(after).toMatchObject({
    version: '3.4.0',
    leader: after.header!.memberId,
    raftTerm: after.header!.raftTerm,
    errors: [],
    isLearner: false,
  });
  expect(after.header!.revision).toBe(revision);
  expect(after.raftIndex).toBeGreaterThan(before.raftIndex);
  expect(after.raftAppliedIndex).toBe(after.raftIndex);
  expect(after.dbSize).toBeGreaterThan(before.dbSize);
  expect(after.dbSizeInUse).toBe(after.dbSize);
});

describe('HashKV', () => {
  const hashOf = async (revision = 0n) => (await etcd.call(hashKV, { revision })).hash;

  test('is of the keys as of a revision, whatever came later', async () => {
    await etcd.call(lease.leaseGrant, { TTL: 60n, ID: 7n });
    const seen = new Map<number, bigint>();
    for (const change of [
      () => etcd.put('a', '1'),
      () => etcd.put('b', '1'),
      () => etcd.put('a', '2'),
      () => etcd.put('a', '2'),
      () => etcd.put('a', '2', { lease: 7n }),
      async () => (await etcd.call(kv.deleteRange, ask.delete('b'))).header!.revision,
    ]) {
      const revision = await change();
      const now = await hashOf();
      expect(seen.has(now)).toBe(false);
      seen.set(now, revision);
    }
    for (const [then, revision] of seen) expect(await hashOf(revision)).toBe(then);
    expect((await etcd.call(hash, {})).hash).toBe(await hashOf());
  });

  test('is of more keys than are read at a time', async () => {
    const revisions = [];
    for (let at = 0; at < 1_100; at++) revisions.push(await etcd.put(`k${at}`, `${at}`));
    const whole = await hashOf();
    await etcd.put('k1099', 'other');
    expect(await hashOf()).not.toBe(whole);
    expect(await hashOf(revisions.at(-1)!)).toBe(whole);
  });

  test('is refused of what is not there yet or any more, and says what is compacted', async () => {
    expect((await etcd.call(hashKV, {})).compactRevision).toBe(-1n);
    const first = await etcd.put('a', '1');
    const revision = await etcd.put('a', '2');
    expect(await etcd.told(hashKV, { revision: revision + 1n })).toBe(FUTURE);
    await etcd.call(kv.compact, { revision });
    expect(await etcd.told(hashKV, { revision: first })).toBe(COMPACTED);
    expect((await etcd.call(hashKV, {})).compactRevision).toBe(revision);
  });
});

describe('Snapshot', () => {
  async function taken() {
    const stream = BegunStream.begin(etcd.rig, snapshot, {});
    await etcd.rig.pass(1_000);
    expect(stream.end).toBe('OK');
    return stream.answers;
  }

  test('is whole blocks with their checksum behind, and counts down what is to come', async () => {
    for (let at = 0; at < 1_500; at++) await etcd.put(`k${at}`, 'v'.repeat(at));
    const answers = await taken();
    const blobs = answers.map(({ blob }) => Buffer.from(blob));
    const content = Buffer.concat(blobs.slice(0, -1));
    expect(content.length % 512).toBe(0);
    expect(blobs.at(-1)!.toString('hex')).toBe(createHash('sha256').update(content).digest('hex'));
    let left = content.length;
    for (const { blob, remainingBytes } of answers.slice(0, -1))
      expect(Number(remainingBytes)).toBe((left -= blob.length));
    expect(left).toBe(0);
    expect(answers.at(-1)!.remainingBytes).toBe(0n);
  });

  test('has every key as it is, and none of the cluster', async () => {
    await etcd.put('gone', '1');
    await etcd.call(kv.deleteRange, ask.delete('gone'));
    for (const [key, value] of [
      ['b', '2'],
      ['a', '1'],
      ['b', '3'],
      ['c', ''],
    ] as const)
      await etcd.put(key, value);
    const answers = await taken();
    const content = Buffer.concat(answers.slice(0, -1).map(({ blob }) => blob));
    expect(content.subarray(0, 8).toString()).toBe('HFCONFIG');
    expect(content.readBigUInt64BE(8)).toBe(1n);
    expect(content.readBigUInt64BE(16)).toBe(answers[0]!.header!.revision);
    const kept = [];
    const rest = Readable.from([content.subarray(24)]) as AsyncIterable<Uint8Array>;
    for await (const one of sizeDelimitedDecodeStream(KeyValueSchema, rest)) {
      if (one.key.length === 0) break; // the zeros at the end
      kept.push([text(one.key), text(one.value), one.version]);
    }
    expect(kept).toEqual([
      ['a', '1', 1n],
      ['b', '3', 2n],
      ['c', '', 1n],
    ]);
  });
});

describe('Alarm', () => {
  const raised = async (request = {}) => (await etcd.call(alarm, request)).alarms;

  test('is raised when something does not fit, and ends when there is room', async () => {
    etcd = await EtcdRig.open({ quotaBytes: 64 * 1024 });
    expect(await raised()).toEqual([]);
    const large = 'v'.repeat(20 * 1024);
    await etcd.put('a', large);
    await etcd.put('b', large);
    expect(await raised()).toEqual([]);
    expect(await etcd.told(kv.put, ask.put('c', large + large))).toBe(
      'RESOURCE_EXHAUSTED etcdserver: mvcc: database space exceeded',
    );
    const memberID = etcdId(etcd.rig.engine.identity.node_id);
    expect(await raised()).toMatchObject([{ memberID, alarm: AlarmType.NOSPACE }]);
    expect(await raised({ memberID, alarm: AlarmType.NOSPACE })).toHaveLength(1);
    expect(await raised({ memberID: memberID + 1n })).toEqual([]);
    expect(await raised({ alarm: AlarmType.CORRUPT })).toEqual([]);
    expect((await etcd.call(status, {})).errors).toEqual([`memberID:${memberID} alarm:NOSPACE `]);
    // To end it does nothing as long as its cause is there.
    expect(await raised({ action: Action.DEACTIVATE, alarm: AlarmType.NOSPACE })).toEqual([]);
    expect(await raised()).toHaveLength(1);
    await etcd.call(kv.deleteRange, ask.delete('a'));
    await etcd.call(kv.compact, { revision: await etcd.put('d', '') });
    await etcd.rig.pass(60_000);
    expect(await raised()).toEqual([]);
    expect(await etcd.told(kv.put, ask.put('c', large))).toBeUndefined();
  });

  test('is not raised by callers', async () => {
    const request = { action: Action.ACTIVATE, alarm: AlarmType.NOSPACE };
    expect(await etcd.told(alarm, request)).toMatch(/^UNIMPLEMENTED alarms are raised by the cluster/);
    expect(await raised()).toEqual([]);
  });
});

test('Defragment succeeds', async () => {
  expect(await etcd.told(defragment, {})).toBeUndefined();
});

test('MoveLeader wants a member', async () => {
  const ID = etcdId(etcd.rig.engine.identity.node_id);
  expect(await etcd.told(moveLeader, { targetID: ID + 1n })).toBe(
    'FAILED_PRECONDITION etcdserver: bad leader transferee',
  );
  expect(await etcd.told(moveLeader, { targetID: ID })).toBeUndefined();
});
