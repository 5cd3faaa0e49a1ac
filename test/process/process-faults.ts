/**
 * What can befall a real node. Each kind does its harm to a victim, ends it again, and
 * returns; whoever draws it then waits until the victim is well. `leastNodes` and `needs`
 * say where a kind is possible.
 */
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { between } from '@holdfast/client/random';
import type { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import type { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';
import type { SmallMount } from './small-mount.ts';
import type { SteppedClock } from './stepped-clock.ts';
import { CLIENTS, type TestNetwork } from './test-network.ts';

const KiB = 1_024;

export interface Scene {
  readonly cluster: RealCluster;
  /** Absent: links cannot be cut here. */
  readonly network: TestNetwork | undefined;
  /** By node; empty: no file systems can be mounted here. */
  readonly mounts: ReadonlyMap<string, SmallMount>;
  /** By node; empty: clocks cannot be set here. */
  readonly clocks: ReadonlyMap<string, SteppedClock>;
  readonly random: SeededRandom;
}

export interface ProcessFault {
  readonly name: string;
  readonly weight: number;
  /** Whether it may leave no majority that reaches each other: then nothing else happens meanwhile. */
  readonly takesMajority?: boolean;
  /** Whether no other fault may be under way. */
  readonly isAlone?: boolean;
  readonly needs?: (scene: Scene) => unknown;
  readonly inject: (scene: Scene, victim: string) => Promise<void>;
}

export const PROCESS_FAULTS: readonly ProcessFault[] = [
  {
    name: 'kill',
    weight: 4,
    async inject({ cluster, random }, victim) {
      await cluster.node(victim).kill();
      await lasting(random, 0, 2_000);
      cluster.spawn(victim);
    },
  },
  {
    name: 'pause',
    weight: 4,
    async inject({ cluster, random }, victim) {
      cluster.node(victim).signal('SIGSTOP');
      await lasting(random, 200, 5_000);
      cluster.node(victim).signal('SIGCONT');
    },
  },
  {
    name: 'restart',
    weight: 2,
    async inject({ cluster, random }, victim) {
      await cluster.node(victim).stop();
      await lasting(random, 0, 1_000);
      cluster.spawn(victim);
    },
  },
  {
    name: 'cut-off',
    weight: 3,
    needs: ({ network }) => network,
    async inject({ cluster, network, random }, victim) {
      const others = cluster.names.filter((name) => name !== victim);
      network!.split([victim], random.chance(0.5) ? [...others, CLIENTS] : others);
      await lasting(random, 500, 5_000);
      network!.heal();
    },
  },
  {
    name: 'not-heard',
    weight: 2,
    needs: ({ network }) => network,
    async inject({ cluster, network, random }, victim) {
      for (const name of cluster.names) if (name !== victim) network!.cut(victim, name);
      await lasting(random, 500, 5_000);
      network!.heal();
    },
  },
  {
    name: 'not-hearing',
    weight: 2,
    needs: ({ network }) => network,
    async inject({ cluster, network, random }, victim) {
      for (const name of cluster.names) if (name !== victim) network!.cut(name, victim);
      await lasting(random, 500, 5_000);
      network!.heal();
    },
  },
  {
    name: 'bridge',
    weight: 2,
    isAlone: true,
    needs: ({ network }) => network,
    async inject({ cluster, network, random }, victim) {
      const others = cluster.names.filter((name) => name !== victim);
      const half = (others.length - 2) / 2; // of the rest one reaches both halves
      network!.split([victim, ...others.slice(0, half)], others.slice(half, 2 * half + 1));
      await lasting(random, 500, 5_000);
      network!.heal();
    },
  },
  {
    name: 'disk-full',
    weight: 2,
    needs: ({ mounts }) => mounts.size > 0,
    inject: fillDisk,
  },
  {
    name: 'clock-step',
    weight: 2,
    needs: ({ clocks }) => clocks.size > 0,
    async inject({ clocks, random }, victim) {
      clocks.get(victim)!.set(random.chance(0.5) ? 10 : -10);
      await lasting(random, 2_000, 5_000);
      clocks.get(victim)!.set(0);
      await lasting(random, 1_000, 1_000);
    },
  },
  {
    name: 'majority-down',
    weight: 1,
    takesMajority: true,
    isAlone: true,
    async inject({ cluster, random }, victim) {
      const others = cluster.names.filter((name) => name !== victim);
      const down = [victim, ...others.slice(0, Math.floor(cluster.names.length / 2))];
      await Promise.all(down.map((name) => cluster.node(name).kill()));
      await lasting(random, 500, 2_500);
      for (const name of down) cluster.spawn(name);
    },
  },
];

/** To the floor, or to the last byte, of which the node dies if it needs one. */
async function fillDisk({ cluster, mounts, random }: Scene, victim: string): Promise<void> {
  const { path } = mounts.get(victim)!;
  const ballast = join(path, 'ballast');
  const { bavail, bsize } = statfsSync(path);
  const leaveBytes = random.chance(0.5) ? 4_096 * KiB : 0;
  try {
    writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - leaveBytes)));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
  await lasting(random, 1_000, 5_000);
  rmSync(ballast, { force: true });
  // It may just be on its way to its end.
  await until(
    async () => !cluster.node(victim).isRunning || (await cluster.readiness(victim))?.status === 200,
    60_000,
    () => `${victim} neither ends nor serves: ${cluster.node(victim).output.slice(-4_000)}`,
  );
  if (!cluster.node(victim).isRunning) cluster.spawn(victim);
}

function lasting(random: SeededRandom, leastMs: number, mostMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, between(random, leastMs, mostMs)));
}
