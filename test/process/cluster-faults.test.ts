/**
 * Three real nodes, each a process of its own, of which one is killed, paused, or loses its
 * disk, under clients that check all that they are told.
 */
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { HoldfastError } from '@holdfast/client';
import { NodeState } from '@holdfast/proto/cluster/v1/cluster';
import { CheckedLoad } from './checked-load.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';
import { CANNOT_MOUNT, SmallMount } from './small-mount.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const MiB = 1_048_576;
const TIMEOUT = 180_000;

const own = new AsyncDisposableStack();
let mount: SmallMount | undefined;
let cluster: RealCluster;

beforeAll(async () => {
  if (CANNOT_MOUNT === undefined) mount = own.use(new SmallMount('128m'));
  cluster = own.use(await RealCluster.start({ under: (name) => (name === 'n2' ? mount?.path : undefined) }));
}, TIMEOUT);
afterAll(() => own.disposeAsync(), TIMEOUT);

it(
  'a counter goes on when the node that leads it is killed, which comes back and catches up',
  async () => {
    const clients = await Promise.all([0, 1, 2].map((first) => cluster.connect({ timeout: '20s' }, first)));
    const group = await cluster.groupOf(clients[0]!, 'default', 'counter');
    const sums = new Set<bigint>();
    let acknowledged = 0n;
    let unknown = 0n;
    let isOver = false;
    const callers = clients.map(async (client) => {
      while (!isOver) {
        try {
          sums.add(await client.keyspace('default').increment('counter'));
          acknowledged++;
        } catch (error) {
          if ((error as HoldfastError).outcome !== 'NOT_APPLIED') unknown++;
        }
      }
    });
    const counted = (more: bigint) => {
      const goal = acknowledged + more;
      return until(
        () => acknowledged >= goal,
        60_000,
        () => `${acknowledged} of ${goal}`,
      );
    };
    await counted(60n);
    const leader = await cluster.leaderOf(group);
    await cluster.node(leader).kill();
    await counted(60n);
    const others = cluster.names.filter((name) => name !== leader);
    expect(await cluster.leaderOf(group, others)).not.toBe(leader);
    await cluster.restart(leader);
    isOver = true;
    await Promise.all(callers);
    // Looked at together: a group that changes its leader meanwhile has an entry more.
    const applied = async (name: string) =>
      (await cluster.answer(name)).groups.find((one) => one.group === group)!.appliedIndex;
    await until(
      async () => new Set(await Promise.all(cluster.names.map(applied))).size === 1,
      30_000,
      () => 'not all have applied the same',
    );
    const value = BigInt((await clients[0]!.keyspace('default').get('counter'))!.text());
    expect(value).toBeGreaterThanOrEqual(acknowledged);
    expect(value).toBeLessThanOrEqual(acknowledged + unknown);
    expect(sums.size).toBe(Number(acknowledged));
  },
  TIMEOUT,
);

it(
  'a leader that is stopped beyond its time and goes on answers nothing that is stale',
  async () => {
    const client = await cluster.connect();
    const group = await cluster.groupOf(client, 'default', 'any');
    const leader = await cluster.leaderOf(group);
    // One client knows this node alone and soon gives up: it asks for what others have written meanwhile.
    await using load = await CheckedLoad.begin(cluster, {
      seed: SEED,
      keys: 'paused/',
      group,
      connect: (number) => (number === 0 ? { endpoints: cluster.node(leader).grpc } : {}),
      timeoutMs: (number) => (number === 0 ? 300 : 3_000),
    });
    await load.progress(100);
    cluster.node(leader).signal('SIGSTOP');
    const others = cluster.names.filter((name) => name !== leader);
    await cluster.leaderOf(group, others);
    await load.progress(200);
    cluster.node(leader).signal('SIGCONT');
    await load.progress(100);
    await load.end();
    await cluster.ready();
    await cluster.caughtUp();
    expect(load.reasons.get('DEADLINE_EXCEEDED'), load.report()).toBeGreaterThan(0);
  },
  TIMEOUT,
);

it(
  'the cluster goes on when the disk of one node is full',
  async (context) => {
    if (mount === undefined) return context.skip(CANNOT_MOUNT);
    await using load = await CheckedLoad.begin(cluster, { seed: SEED, keys: 'full/' });
    await load.progress(100);
    const { bavail, bsize } = statfsSync(mount.path);
    const ballast = join(mount.path, 'ballast');
    writeFileSync(ballast, Buffer.alloc(bavail * bsize - 4 * MiB));
    await until(
      async () => (await cluster.status('n2'))?.state === NodeState.DISK_LOW,
      30_000,
      () => cluster.node('n2').output,
    );
    await load.progress(300);
    rmSync(ballast);
    await until(
      async () => (await cluster.status('n2'))?.state === NodeState.RUNNING,
      30_000,
      () => cluster.node('n2').output,
    );
    await load.progress(100);
    await load.end();
    await cluster.caughtUp();
  },
  TIMEOUT,
);
