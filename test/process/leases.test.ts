/** Leases on real nodes through changes of leader, and a leader that stood still for longer than they live. */
import { expect, it } from 'vitest';
import { COORDINATION_GROUP } from '../../node/raft/members.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const GROUP = BigInt(COORDINATION_GROUP);
const CHECKPOINT_MS = 3_000;
const CHANGES = 3;
/** For calls to be on their way, on a busy machine. */
const SLACK_MS = 500;

it('have left what they should after three changes of leader, to within one checkpoint', async () => {
  await using cluster = await RealCluster.start({ coordination: [`lease_checkpoint: ${CHECKPOINT_MS}ms`] });
  const client = await cluster.connect();
  const grantedAt = performance.now();
  const ttlMs = 60_000;
  const leases = await Promise.all(
    Array.from({ length: 20 }, () => client.leases.grant({ ttl: ttlMs, keepAlive: false })),
  );
  const seen: number[] = [];
  let unledMs = 0;
  for (let change = 0; change < CHANGES; change++) {
    const leader = await cluster.leaderOf(GROUP);
    await cluster.node(leader).kill();
    const killedAt = performance.now();
    await client.config.put('led', String(change), { timeout: '30s' });
    unledMs += performance.now() - killedAt;
    cluster.spawn(leader);
    await cluster.ready();
  }
  for (const lease of leases) {
    const askedAt = performance.now();
    const { remainingMs } = await lease.describe({ timeout: '30s' });
    const least = ttlMs - (performance.now() - grantedAt);
    const most = ttlMs - (askedAt - grantedAt);
    seen.push(Math.round(remainingMs - most));
    // Nobody loses time; while nobody leads none passes; a change adds at most what was not stored.
    expect(remainingMs).toBeGreaterThan(least - SLACK_MS);
    expect(remainingMs).toBeLessThan(most + CHECKPOINT_MS + unledMs + SLACK_MS);
  }
  console.log(
    `${leases.length} leases, ${CHANGES} leaders killed, ${Math.round(unledMs)} ms without one; they have ${Math.min(...seen)} to ${Math.max(...seen)} ms more left than by the clock; checkpoints every ${CHECKPOINT_MS} ms`,
  );
}, 120_000);

it('are not ended by a leader that wakes after longer than all of them live', async () => {
  await using cluster = await RealCluster.start();
  const client = await cluster.connect();
  const ttlMs = 6_000;
  const leases = await Promise.all(Array.from({ length: 50 }, () => client.leases.grant({ ttl: ttlMs })));
  for (const [at, lease] of leases.entries()) await client.config.put(`hangs/${at}`, 'x', { lease });
  const leader = await cluster.leaderOf(GROUP);
  cluster.node(leader).signal('SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, ttlMs + 3_000));
  cluster.node(leader).signal('SIGCONT');
  const others = cluster.names.filter((name) => name !== leader);
  const next = await cluster.leaderOf(GROUP, others);
  await cluster.ready();
  // As long again: whatever the former leader had in mind would have come.
  await new Promise((resolve) => setTimeout(resolve, ttlMs));
  const lost = leases.filter(({ signal }) => signal.aborted).length;
  const left = await client.config.count({ prefix: 'hangs/' });
  console.log(
    `${leader} stood still for ${ttlMs + 3_000} ms, ${next} led; ${lost} of ${leases.length} leases lost`,
  );
  expect([lost, left]).toEqual([0, leases.length]);
  await client.close(); // nobody keeps them alive any more
  const observer = await cluster.connect();
  await until(
    async () => (await observer.config.count({ prefix: 'hangs/' })) === 0,
    ttlMs + 5_000,
    () => 'leases that nobody keeps alive do not end',
  );
}, 120_000);
