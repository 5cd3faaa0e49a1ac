/** Python's package etcd3, which knows nothing of us, against three nodes of which leaders are killed. */
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { COORDINATION_GROUP } from '../../node/raft/members.ts';
import { RealCluster } from '../process/real-cluster.ts';
import { describeWith, pathOf, pythonEtcd } from './installed-tools.ts';
import { RunningScript } from './running-script.ts';

const SCRIPT = fileURLToPath(new URL('etcd_client.py', import.meta.url));
const GROUP = BigInt(COORDINATION_GROUP);
const KILLS = 3;

interface Report {
  readonly rounds: number;
  readonly done: number;
  /** Calls that were sent again. */
  readonly repeats: number;
  /** Times that the watch went on at another node. */
  readonly resumed: number;
  readonly locked: number;
  readonly events: number;
}

describeWith([pythonEtcd], 'the Python package etcd3', () => {
  it('reads, writes, watches, leases and locks through leaders that are killed', async () => {
    await using cluster = await RealCluster.start();
    using running = new RunningScript<Report>(pathOf(pythonEtcd), [SCRIPT, cluster.endpoints.join(',')]);
    await running.begun();
    // A node that is killed takes the watch with it, once it is that one's turn.
    const victims = new Set<string>();
    for (let kill = 0; kill < KILLS; kill++) {
      const leader = await cluster.leaderOf(GROUP);
      victims.add(leader);
      await cluster.node(leader).kill();
      await cluster.leaderOf(
        GROUP,
        cluster.names.filter((other) => other !== leader),
      );
      await cluster.restart(leader);
    }
    for (const other of cluster.names.filter((name) => !victims.has(name))) {
      await cluster.node(other).kill();
      await cluster.restart(other);
    }
    const report = await running.end();
    console.log(JSON.stringify(report));
    expect(report.rounds).toBeGreaterThanOrEqual(3);
    expect(report.done).toBeGreaterThan(100);
    expect(report.locked).toBe(report.rounds);
    expect(report.events).toBeGreaterThanOrEqual(5 * report.rounds);
    expect(report.repeats).toBeGreaterThan(0);
    expect(report.resumed).toBeGreaterThan(0);
  }, 180_000);
});
