/** That a keyspace is unknown is said only when the leader has confirmed that this node is up to date. */
import { create, toBinary } from '@bufbuild/protobuf';
import { partitionArcs } from '@holdfast/client/partition-table';
import { KeyspaceSchema } from '@holdfast/proto/kv/v1/keyspace';
import { expect, test } from 'vitest';
import type { ClusterTree } from '../../node/cluster/cluster-tree.ts';
import { Keyspaces } from '../../node/kv/keyspaces.ts';
import type { GroupHost } from '../../node/raft/group-host.ts';
import type { Member } from '../../node/raft/members.ts';
import type { ReadWaiter } from '../../node/raft/read-queue.ts';
import type { RowStore } from '../../node/storage/row-store.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';

const PREFIX = '/holdfast/keyspaces/';
const LEADER: Member = { id: 2, name: 'n2', address: 'n2:7401' };

/** A follower: its tree is as old as the test says, and reads wait until it lets them go on. */
class FollowerRig {
  canReadNow = false;
  leader: Member | undefined = LEADER;
  readonly waiting: ReadWaiter[] = [];
  readonly nodes = new Map<string, Uint8Array>();
  readonly groups = new Set<number>();
  keyspaces!: Keyspaces;
  #watcher: Parameters<ClusterTree['watch']>[0] | undefined;
  /** Readings of the tree that have not ended. */
  readonly listings: (() => void)[] = [];
  isSlow = false;

  async open(): Promise<this> {
    const tree: ClusterTree = {
      get: () => undefined,
      list: async () => {
        if (this.isSlow) await new Promise<void>((resolve) => this.listings.push(resolve));
        return [...this.nodes].map(([key, value]) => ({ key, value }));
      },
      transact: () => Promise.resolve({ succeeded: false }),
      revision: 0,
      raiseRevision: () => Promise.resolve(),
      watch: (watcher) => (this.#watcher = watcher),
    };
    const host = {
      members: [LEADER],
      self: 1,
      hasRemains: () => false,
      onUnknownGroup: [],
      failure: undefined,
      canReadNow: () => this.canReadNow,
      awaitRead: (_: number, waiter: ReadWaiter) => this.waiting.push(waiter),
      isLeader: () => false,
      expectGroups: () => () => undefined,
      completeRecovery: () => Promise.resolve(),
      leaderOf: () => this.leader,
      notLed: () => ({ leader: this.leader }),
      replica: () => ({}),
      addGroup: (group: number) => (this.groups.add(group), { group }),
      removeGroup: (group: number) => this.groups.delete(group),
    };
    this.keyspaces = await Keyspaces.open({
      tree,
      host: host as unknown as GroupHost,
      rows: { removeRange: () => Promise.resolve(0) } as unknown as RowStore,
      clock: new SimulatedClock(new SimulatedScheduler()),
      onRemoveFailure: (error) => expect.unreachable(error.message),
    });
    return this;
  }

  /** The tree says so; `isTold`: as an entry that is applied. */
  add(name: string, id: number, isTold = true): void {
    const partitions = partitionArcs(1).map((arc) => ({ ...arc, group: BigInt(id), firstReplicas: [1] }));
    const value = toBinary(KeyspaceSchema, create(KeyspaceSchema, { name, id: BigInt(id), partitions }));
    this.nodes.set(PREFIX + name, value);
    if (isTold) this.#watcher!.onChange({ key: PREFIX + name, value });
  }

  replace(): void {
    this.#watcher!.onReplaced();
  }

  confirm(): void {
    for (const waiter of this.waiting.splice(0)) waiter.onReady();
  }
}

const failed = (found: unknown) =>
  Promise.resolve(found).then(
    () => 'found',
    (error: { reason: string; leader?: string }) => `${error.reason} ${error.leader ?? ''}`.trim(),
  );

test('one that is known is given at once, whoever leads', async () => {
  const rig = await new FollowerRig().open();
  rig.add('here', 1);
  expect(rig.keyspaces.find('here')).toMatchObject({ name: 'here' });
  expect(rig.waiting).toEqual([]);
});

test('one that is not known is looked for again when the leader has confirmed', async () => {
  const rig = await new FollowerRig().open();
  const [late, never] = [rig.keyspaces.find('late'), failed(rig.keyspaces.find('never'))];
  expect(rig.waiting).toHaveLength(2);
  rig.add('late', 1);
  rig.confirm();
  expect(await late).toMatchObject({ name: 'late' });
  expect(await never).toBe('KEYSPACE_UNKNOWN');
});

test('who decides alone says at once that it is unknown', async () => {
  const rig = await new FollowerRig().open();
  rig.canReadNow = true;
  expect(() => rig.keyspaces.find('never')).toThrow(expect.objectContaining({ reason: 'KEYSPACE_UNKNOWN' }));
});

test('without a leader that confirms nobody says that it is unknown', async () => {
  const rig = await new FollowerRig().open();
  for (const leader of [LEADER, undefined]) {
    rig.leader = leader;
    const found = failed(rig.keyspaces.find('somewhere'));
    for (const waiter of rig.waiting.splice(0)) waiter.onFailed();
    expect(await found).toBe(leader === undefined ? 'NOT_LEADER' : 'NOT_LEADER n2:7401');
  }
});

test('a name that cannot be one is refused without asking anybody', async () => {
  const rig = await new FollowerRig().open();
  expect(() => rig.keyspaces.find('no/name')).toThrow(
    expect.objectContaining({ reason: 'KEYSPACE_NAME_INVALID' }),
  );
  expect(rig.waiting).toEqual([]);
});

test('while the tree is being read anew, what it holds is waited for', async () => {
  const rig = await new FollowerRig().open();
  rig.add('gone', 1);
  rig.isSlow = true;
  rig.nodes.delete(`${PREFIX}gone`);
  rig.add('new', 2, false);
  rig.replace();
  const found = rig.keyspaces.find('new');
  let isFound = false;
  void Promise.resolve(found).then(() => (isFound = true));
  rig.confirm();
  for (let i = 0; i < 10; i++) await Promise.resolve();
  expect(isFound).toBe(false);
  rig.add('newer', 3); // applied meanwhile: it is read once more
  rig.listings.shift()!();
  for (let i = 0; i < 10; i++) await Promise.resolve();
  rig.listings.shift()!();
  expect(await found).toMatchObject({ name: 'new' });
  expect(rig.keyspaces.list().map(({ name }) => name)).toEqual(['new', 'newer']);
  expect([...rig.groups]).toEqual([2, 3]);
});
