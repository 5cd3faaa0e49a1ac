/** Every node of five serves every call, whoever leads a partition and whoever holds it. */
import { create, toBinary } from '@bufbuild/protobuf';
import { KeyspaceService } from '@holdfast/proto/kv/v1/keyspace';
import { KvService } from '@holdfast/proto/kv/v1/kv';
import { ForwardService } from '@holdfast/proto/raft/v1/forward';
import {
  CreateKeyspaceRequestSchema,
  DropKeyspaceRequestSchema,
  KeyspaceSchema,
} from '@holdfast/proto/kv/v1/keyspace';
import {
  BatchGetRequestSchema,
  GetRequestSchema,
  PutRequestSchema,
  ScanRequestSchema,
  TransactRequestSchema,
} from '@holdfast/proto/kv/v1/kv';
import {
  ProposeRequestSchema,
  ReadRangeRequestSchema,
  ReadRequestSchema,
} from '@holdfast/proto/raft/v1/forward';
import { beforeAll, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { encodeTransaction } from '../../node/coordination/tree-command.ts';
import { encodeMutate, MutationKind, type MutationCommand } from '../../node/kv/kv-command.ts';
import { MAX_KEY_BYTES, MAX_VALUE_BYTES } from '../../node/kv/limits.ts';
import type { CallContext, Handlers } from '../../node/services/handler.ts';
import { forwardService } from '../../node/services/forward-service.ts';
import { keyspaceService } from '../../node/services/keyspace-service.ts';
import { kvService } from '../../node/services/kv-service.ts';
import { SmallCluster, type SmallNode } from '../raft/small-cluster.ts';
import { openAccess } from '../../node/services/access.ts';

let cluster: SmallCluster;
const names = Array.from({ length: 40 }, (_, i) => `k${i}`);

beforeAll(async () => {
  cluster = await SmallCluster.start('any', 5, 0, true);
});

function context(isRouted: boolean, node: SmallNode): CallContext {
  return {
    deadlineMs: node.clock.monotonicMs() + 10_000,
    isRouted,
    signal: new AbortController().signal,
    principal: '',
    access: openAccess(),
    grant: openAccess(),
    peer: () => '',
    requestId: '',
    traceparent: undefined,
    budget: {
      tryTake: () => true,
      give: () => undefined,
      refusal: () => new HoldfastError({ reason: 'OVERLOADED', message: '' }),
    },
  };
}

function kvOf(node: SmallNode): Handlers<typeof KvService> {
  const { kv, keyspaces } = node.engine!;
  const stopping = new AbortController().signal;
  const options = { kv, keyspaces, clock: node.clock, observe: () => undefined, stopping };
  return kvService(options).handlers as Handlers<typeof KvService>;
}

const settle = <T>(work: Promise<T>) => cluster.world.settle(work, 30_000);
const keyOf = (name: string) => ({ keyspace: 'default', key: Buffer.from(name) });
/** A node that has no replica of a key's partition. */
const stranger = (name: string) =>
  cluster.nodes.find(({ engine }) => engine!.host.replica(cluster.groupOf(name)) === undefined)!;

test('no node holds all partitions, and three hold each', () => {
  const groups = new Set(names.map((name) => cluster.groupOf(name)));
  expect(groups.size).toBe(8);
  for (const group of groups)
    expect(cluster.nodes.filter(({ engine }) => engine!.host.replica(group) !== undefined)).toHaveLength(3);
});

test('what is written on one node is read on each, in any way', async () => {
  for (const [at, name] of names.entries()) {
    const node = cluster.nodes[at % 5]!;
    const put = create(PutRequestSchema, { ...keyOf(name), value: Buffer.from(name) });
    await settle(kvOf(node).put(context(false, node), put));
  }
  for (const node of cluster.nodes) {
    const kv = kvOf(node);
    const get = create(GetRequestSchema, keyOf('k7'));
    const { entry } = await settle(kv.get(context(false, node), get));
    expect(Buffer.from(entry!.value).toString()).toBe('k7');
    for (const isRouted of [false, true]) {
      const keys = names.map((name) => Buffer.from(name));
      const all = create(BatchGetRequestSchema, { keyspace: 'default', keys });
      const { results } = await settle(kv.batchGet(context(isRouted, node), all));
      expect(results.map((result) => Buffer.from(result.entry!.value).toString())).toEqual(names);
      const scanned = async () => {
        const found: string[] = [];
        const request = create(ScanRequestSchema, { keyspace: 'default' });
        for await (const { entries } of kv.scan(context(isRouted, node), request))
          found.push(...entries.map(({ key }) => Buffer.from(key).toString()));
        return found;
      };
      expect(await settle(scanned())).toEqual(names.toSorted());
    }
  }
});

test('a transaction is passed on, and so is what it was refused for', async () => {
  const node = stranger('k3');
  const request = create(TransactRequestSchema, {
    keyspace: 'default',
    comparisons: [{ key: Buffer.from('k3'), target: { case: 'value', value: Buffer.from('k3') } }],
    thenOperations: [{ operation: { case: 'get', value: Buffer.from('k3') } }],
  });
  const { succeeded, results } = await settle(kvOf(node).transact(context(false, node), request));
  expect(succeeded).toBe(true);
  expect(results[0]!.result.value).toMatchObject({ entry: { value: Uint8Array.from(Buffer.from('k3')) } });
  const counted = kvOf(node).increment(context(false, node), { ...keyOf('k3') } as never);
  await expect(settle(counted)).rejects.toMatchObject({ reason: 'NOT_A_COUNTER', outcome: 'NOT_APPLIED' });
});

test('one that routes is told of a node that has a replica, each in turn', async () => {
  const node = stranger('k3');
  const holders = cluster.nodes
    .filter(({ engine }) => engine!.host.replica(cluster.groupOf('k3')) !== undefined)
    .map(({ member }) => member.address);
  const named = new Set<string>();
  for (let i = 0; i < 8; i++) {
    const put = create(PutRequestSchema, { ...keyOf('k3'), value: Buffer.from('no') });
    const failed = kvOf(node).put(context(true, node), put);
    const error = await settle(
      failed.then(
        () => undefined,
        (caught: HoldfastError) => caught,
      ),
    );
    expect(error).toMatchObject({ reason: 'NOT_LEADER', outcome: 'NOT_APPLIED' });
    named.add(error!.leader!);
  }
  expect([...named]).toEqual(expect.arrayContaining(holders));
  expect(named).not.toContain(node.member.address);
});

test('keyspaces are created and dropped on any node', async () => {
  for (const node of cluster.nodes) {
    const keyspaces = keyspaceService(node.engine!.keyspaces).handlers as Handlers<typeof KeyspaceService>;
    const name = `of-${node.member.name}`;
    const made = create(CreateKeyspaceRequestSchema, { name, partitions: 2 });
    const { keyspace } = await settle(keyspaces.createKeyspace(context(false, node), made));
    expect(keyspace!.partitions).toHaveLength(2);
    await settle(keyspaces.dropKeyspace(context(false, node), create(DropKeyspaceRequestSchema, { name })));
  }
});

/** A put that only differs from a good one in this. */
function mutate(difference: Partial<MutationCommand>) {
  const nothing = { ttlMs: undefined, expectedVersion: 0, expectedValue: Buffer.alloc(0), delta: 0n };
  const put = { kind: MutationKind.put, key: Buffer.from('k0'), value: Buffer.from('v'), ...nothing };
  const { kind, version, bytes } = encodeMutate(
    { identity: undefined, fence: undefined },
    { ...put, ...difference },
  );
  return { kind, version, payload: Buffer.from(bytes), timeoutMs: 1_000 };
}

test('a keyspace that was dropped can be created at once on a node that lags', async () => {
  const [first, ...others] = cluster.nodes as [SmallNode, ...SmallNode[]];
  const handlers = ({ engine }: SmallNode) =>
    keyspaceService(engine!.keyspaces).handlers as Handlers<typeof KeyspaceService>;
  for (const node of others) {
    const made = create(CreateKeyspaceRequestSchema, { name: 'again', partitions: 1 });
    await settle(handlers(first).createKeyspace(context(false, first), made));
    await settle(
      handlers(first).dropKeyspace(
        context(false, first),
        create(DropKeyspaceRequestSchema, { name: 'again' }),
      ),
    );
    await settle(
      handlers(node)
        .createKeyspace(context(true, node), made)
        .catch((error: unknown) => expect(error).toMatchObject({ reason: 'NOT_LEADER' })),
    );
    await settle(
      handlers(first)
        .dropKeyspace(context(false, first), create(DropKeyspaceRequestSchema, { name: 'again' }))
        .catch((error: unknown) => expect(error).toMatchObject({ reason: 'KEYSPACE_UNKNOWN' })),
    );
  }
});

test('what is no command is refused before it is proposed', async () => {
  const group = cluster.groupOf('k0');
  const node = cluster.leaderOf(group)!;
  const service = forwardService({ ...node.engine!, clock: node.clock });
  const { propose } = service.handlers as Handlers<typeof ForwardService>;
  const bad = [
    { kind: 1, version: 1, payload: Buffer.from('nonsense'), timeoutMs: 1_000 },
    { kind: 1, version: 9, payload: Buffer.alloc(9), timeoutMs: 1_000 },
    { kind: 99, version: 1, payload: Buffer.alloc(9), timeoutMs: 1_000 },
    { kind: 3, version: 1, payload: Buffer.alloc(4), timeoutMs: 1_000 },
    mutate({ ttlMs: Number.MAX_SAFE_INTEGER }),
    mutate({ ttlMs: 0 }),
    mutate({ key: Buffer.alloc(0) }),
    mutate({ key: Buffer.alloc(MAX_KEY_BYTES + 1) }),
    mutate({ value: Buffer.alloc(MAX_VALUE_BYTES + 1) }),
  ];
  for (const command of bad) {
    const request = create(ProposeRequestSchema, { group: BigInt(group), commands: [command] });
    await expect(settle(propose(context(true, node), request))).rejects.toMatchObject({
      reason: 'MESSAGE_MALFORMED',
      outcome: 'NOT_APPLIED',
    });
  }
  const senseless = [
    { key: '/holdfast/keyspaces/x', value: Buffer.from('no keyspace') },
    { key: '/holdfast/keyspaces/x', value: toBinary(KeyspaceSchema, create(KeyspaceSchema, { name: 'x' })) },
  ];
  const first = forwardService({ ...cluster.leaderOf(0)!.engine!, clock: node.clock });
  for (const change of senseless) {
    const { kind, version, bytes } = encodeTransaction({ comparisons: [], changes: [change] });
    const command = { kind, version, payload: Buffer.from(bytes), timeoutMs: 1_000 };
    const request = create(ProposeRequestSchema, { group: 0n, commands: [command] });
    const handlers = first.handlers as Handlers<typeof ForwardService>;
    await expect(settle(handlers.propose(context(true, node), request))).rejects.toMatchObject({
      reason: 'MESSAGE_MALFORMED',
    });
  }
  const elsewhere = create(ProposeRequestSchema, { group: 12_345n });
  await expect(settle(propose(context(true, node), elsewhere))).rejects.toMatchObject({
    reason: 'NOT_LEADER',
  });
  expect(cluster.nodes.flatMap(({ failures }) => failures)).toEqual([]);
});

test('what a node of another cluster passes on is refused', async () => {
  const group = cluster.groupOf('k0');
  const node = cluster.leaderOf(group)!;
  const { propose, read, readRange } = forwardService({ ...node.engine!, clock: node.clock })
    .handlers as Handlers<typeof ForwardService>;
  const foreign = { group: BigInt(group), clusterId: 'ff'.repeat(16) };
  const calls = [
    propose(context(true, node), create(ProposeRequestSchema, foreign)),
    read(context(true, node), create(ReadRequestSchema, { ...foreign, keys: [Buffer.from('k0')] })),
    readRange(context(true, node), create(ReadRangeRequestSchema, { ...foreign, maxRows: 1, maxBytes: 1 })),
  ];
  const refusal = { reason: 'PERMISSION_DENIED', outcome: 'NOT_APPLIED', field: 'cluster_id' };
  for (const end of await settle(Promise.allSettled(calls)))
    expect(end).toMatchObject({ status: 'rejected', reason: refusal });
});

test('a node that is made a member of a group later opens a replica of it', async () => {
  const group = cluster.groupOf('k5');
  const newcomer = stranger('k5');
  const leader = cluster.leaderOf(group)!;
  const add = [{ type: 'add voter' as const, replica: newcomer.member.id }];
  expect(leader.engine!.host.changeConfiguration(group, add).refused).toBeUndefined();
  const replica = () => newcomer.engine!.host.replica(group);
  await cluster.until(() => replica()?.core.configuration.voters.includes(newcomer.member.id) === true);
  await cluster.until(() => replica()!.applied.index === leader.engine!.host.replica(group)!.applied.index);
  cluster.crash(newcomer);
  await cluster.open(newcomer);
  await cluster.until(() => replica() !== undefined);
  const get = kvOf(newcomer).get(context(false, newcomer), create(GetRequestSchema, keyOf('k5')));
  expect(Buffer.from((await settle(get)).entry!.value).toString()).toBe('k5');
});
