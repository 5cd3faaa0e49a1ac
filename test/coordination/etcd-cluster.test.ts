/** The members by etcd's API. */
import { Cluster } from '@holdfast/proto/etcd/rpc';
import { expect, test } from 'vitest';
import type { Membership } from '../../node/cluster/membership.ts';
import { etcdClusterService } from '../../node/services/etcd/etcd-cluster.ts';
import { etcdId } from '../../node/services/etcd/etcd-header.ts';
import { EtcdRig } from './etcd-rig.ts';

const { memberAdd, memberList, memberPromote, memberRemove, memberUpdate } = Cluster.method;

test('a node lists the members as they are numbered in every answer', async () => {
  const etcd = await EtcdRig.open();
  const { header, members } = await etcd.call(memberList, {});
  expect(members).toHaveLength(1);
  expect(members[0]).toMatchObject({ name: 'n1', ID: header!.memberId, isLearner: false });
  expect(header!.revision).toBe(0n);
});

test('what changes members names the command that does', async () => {
  const etcd = await EtcdRig.open();
  const { identity } = etcd.rig.engine;
  const ID = etcdId(identity.node_id);
  const unknown = 'NOT_FOUND etcdserver: member not found';
  expect(await etcd.told(memberRemove, { ID: ID + 1n })).toBe(unknown);
  expect(await etcd.told(memberUpdate, { ID: ID + 1n })).toBe(unknown);
  expect(await etcd.told(memberPromote, { ID: ID + 1n })).toBe(unknown);
  expect(await etcd.told(memberAdd, { peerURLs: ['http://a:1'] })).toMatch(
    /^UNIMPLEMENTED .*"holdfast cluster add"/,
  );
  expect(await etcd.told(memberUpdate, { ID })).toMatch(/^UNIMPLEMENTED .*cluster\.yaml/);
  expect(await etcd.told(memberPromote, { ID })).toBe(
    'FAILED_PRECONDITION etcdserver: can only promote a learner member',
  );
  expect(await etcd.told(memberRemove, { ID })).toMatch(/^FAILED_PRECONDITION /);
});

test('members say where they are, what they are, and are removed by their number', async () => {
  const ids = ['00000000000000a1', 'ffffffffffffffff', '00000000000000a3'];
  const states = ['active', 'active', 'joining'] as const;
  const members = ids.map((nodeId, at) => ({
    id: at + 1,
    name: `n${at + 1}`,
    nodeId,
    grpc: at === 2 ? 'far:7403' : '',
    http: '',
    state: states[at]!,
    replaces: 0,
  }));
  const removed: string[] = [];
  const etcd = await EtcdRig.open();
  const { handlers } = etcdClusterService({
    members: { current: { members } as unknown as Membership },
    changes: { remove: async (name) => void removed.push(name) },
    host: { members: [1, 2].map((id) => ({ id, name: `n${id}`, address: `h${id}:7401` })) as never },
    header: () => undefined as never,
    hasTls: true,
  });
  const ask = handlers as Record<
    string,
    (context: unknown, request: unknown) => Promise<{ members: unknown }>
  >;
  const listed = await ask['memberList']!(etcd.rig.context(), {});
  expect(listed.members).toMatchObject([
    { ID: 0xa1n, clientURLs: ['https://h1:7401'], peerURLs: ['https://h1:7401'], isLearner: false },
    { ID: 0xffff_ffff_ffff_ffffn, clientURLs: ['https://h2:7401'], isLearner: false },
    { ID: 0xa3n, clientURLs: ['https://far:7403'], isLearner: true },
  ]);
  await ask['memberRemove']!(etcd.rig.context(), { ID: 0xffff_ffff_ffff_ffffn });
  expect(removed).toEqual(['n2']);
  await expect(ask['memberPromote']!(etcd.rig.context(), { ID: 0xa3n })).rejects.toThrow(
    'can only promote a learner member which is in sync with leader',
  );
});
