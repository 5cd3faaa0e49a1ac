import { beforeEach, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import type { Served } from '../../node/coordination/lock-waits.ts';
import { SessionCommandKind as Kind } from '../../node/coordination/session-command.ts';
import { SessionCluster, type ClusterNode } from './session-cluster.ts';

let cluster: SessionCluster;
let leader: ClusterNode;
let follower: ClusterNode;
beforeEach(async () => {
  cluster = new SessionCluster();
  leader = await cluster.elect(0);
  follower = cluster.nodes[1]!;
  await cluster.run(1_000);
  for (const lease of [1, 2, 3]) await cluster.grant(lease, 60_000);
});

function queue(name = 'lock') {
  return leader.state.locks.get(name);
}

function waiting(): number {
  return cluster.nodes.reduce((sum, { sessions }) => sum + sessions.queues.waits.size, 0);
}

/** What a call ends in, noted when it does. */
function noted(call: Promise<Served>): { end: Served | HoldfastError | undefined } {
  const note: { end: Served | HoldfastError | undefined } = { end: undefined };
  call.then(
    (served) => (note.end = served),
    (error: HoldfastError) => (note.end = error),
  );
  return note;
}

test('a call waits on the node that took it, wherever the lock is given', async () => {
  const first = await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const second = noted(cluster.acquire(follower, 2, 'lock'));
  await cluster.run(3_000);
  expect(second.end).toBeUndefined();
  expect(waiting()).toBe(1);
  await cluster.release(cluster.nodes[2]!, 1, 'lock', first.token);
  await cluster.run(20);
  expect(second.end).toEqual({ token: first.token + 2, holds: 1 }); // its place took one as well
  expect(waiting()).toBe(0);
});

test('who would not wait is told that others hold the lock', async () => {
  await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const tried = cluster.settle(cluster.acquire(follower, 2, 'lock', { waitMs: 0 }));
  await expect(tried).rejects.toMatchObject({ reason: 'LOCK_HELD', outcome: 'NOT_APPLIED' });
  expect(queue()!.waiters).toEqual([]);
});

test('whose time is over gives up its place; those behind it come sooner', async () => {
  await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const late = noted(cluster.acquire(follower, 2, 'lock', { waitMs: 1_000 }));
  const next = noted(cluster.acquire(follower, 3, 'lock'));
  await cluster.run(900);
  expect(late.end).toBeUndefined();
  await cluster.run(200);
  expect(late.end).toMatchObject({ reason: 'LOCK_TIMED_OUT', outcome: 'NOT_APPLIED' });
  expect(queue()!.waiters.map(({ session }) => session)).toEqual([3n]);
  await cluster.settle(leader.propose({ kind: Kind.revoke, lease: 1n }));
  await cluster.run(20);
  expect(next.end).toMatchObject({ holds: 1 });
});

test('a call without a time to wait ends before its deadline, with its place given up', async () => {
  await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const call = noted(cluster.acquire(follower, 2, 'lock', { timeoutMs: 4_000 }));
  await cluster.run(3_990);
  expect(call.end).toMatchObject({ reason: 'LOCK_TIMED_OUT' });
  expect(queue()!.waiters).toEqual([]);
});

test('the end of its session ends a call that waits, on every node', async () => {
  await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const call = noted(cluster.acquire(follower, 2, 'lock'));
  await cluster.run(100);
  await cluster.settle(leader.propose({ kind: Kind.revoke, lease: 2n }));
  await cluster.run(20);
  expect(call.end).toMatchObject({ reason: 'SESSION_EXPIRED', outcome: 'NOT_APPLIED' });
  const after = cluster.settle(cluster.acquire(leader, 2, 'lock'));
  await expect(after).rejects.toMatchObject({ reason: 'SESSION_EXPIRED' });
});

test('a waiter whose caller has gone is taken out, unless it has asked again elsewhere', async () => {
  await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const gone = new AbortController();
  void noted(cluster.acquire(follower, 2, 'lock', { signal: gone.signal }));
  void noted(cluster.acquire(follower, 3, 'lock', { signal: gone.signal }));
  await cluster.run(50);
  const again = noted(cluster.acquire(cluster.nodes[2]!, 3, 'lock'));
  await cluster.run(50);
  gone.abort();
  await cluster.run(50);
  expect(queue()!.waiters.map(({ session }) => session)).toEqual([3n]);
  await cluster.settle(leader.propose({ kind: Kind.revoke, lease: 1n }));
  await cluster.run(50);
  expect(again.end).toMatchObject({ holds: 1 });
});

test('what is given to a caller that has gone is given back', async () => {
  const gone = new AbortController();
  void noted(cluster.acquire(leader, 1, 'lock', { signal: gone.signal }));
  gone.abort(); // its command is on its way
  await cluster.run(100);
  expect(queue()).toBeUndefined();
});

test('a request that is sent again is answered with what it got', async () => {
  const first = await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  expect(await cluster.settle(cluster.acquire(follower, 1, 'lock'))).toEqual(first);
  expect(await cluster.settle(cluster.acquire(follower, 1, 'lock', { request: 'other' }))).toEqual({
    token: first.token,
    holds: 2,
  });
});

test('a call goes on waiting through changes of leader', async () => {
  const first = await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const call = noted(cluster.acquire(follower, 2, 'lock'));
  await cluster.run(500);
  for (const next of [1, 2, 0]) {
    cluster.depose();
    await cluster.run(700);
    await cluster.elect(next);
    await cluster.run(1_000);
  }
  await cluster.release(follower, 1, 'lock', first.token);
  await cluster.run(20);
  expect(call.end).toMatchObject({ holds: 1 });
});

test('a node that knows of no leader for long lets its calls go, and keeps their places', async () => {
  await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const call = noted(cluster.acquire(follower, 2, 'lock'));
  await cluster.run(100);
  cluster.unled = new HoldfastError({ reason: 'NO_LEADER', message: 'nobody leads', outcome: 'UNKNOWN' });
  await cluster.run(1_100);
  expect(call.end).toMatchObject({ reason: 'NO_LEADER' });
  expect(queue()!.waiters.length).toBe(1);
});

test('a node that stops lets its calls go, and keeps their places', async () => {
  await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const call = noted(cluster.acquire(follower, 2, 'lock'));
  await cluster.run(100);
  const stopping = new HoldfastError({ reason: 'SHUTTING_DOWN', message: 'stopping' });
  follower.sessions.endWaits(stopping);
  await cluster.run(20);
  // Its place is kept: it is not so that nothing was done.
  expect(call.end).toMatchObject({ reason: 'SHUTTING_DOWN', outcome: 'UNKNOWN' });
  await expect(cluster.settle(cluster.acquire(follower, 3, 'lock'))).rejects.toMatchObject({
    reason: 'SHUTTING_DOWN',
  });
  expect(queue()!.waiters[0]).toMatchObject({ session: 2n });
});

test('a snapshot tells waiting calls what has become of them', async () => {
  await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const served = noted(cluster.acquire(follower, 2, 'lock'));
  const ended = noted(cluster.acquire(follower, 3, 'lock'));
  await cluster.run(100);
  follower.isDeaf = true;
  await cluster.settle(leader.propose({ kind: Kind.revoke, lease: 1n }));
  await cluster.settle(leader.propose({ kind: Kind.revoke, lease: 3n }));
  await cluster.run(100);
  expect([served.end, ended.end]).toEqual([undefined, undefined]);
  follower.sessions.onReplaced();
  await cluster.run(1);
  expect(served.end).toMatchObject({ holds: 1 });
  expect(ended.end).toMatchObject({ reason: 'SESSION_EXPIRED' });
});

test('candidates lead one after the other, and followers see the last one', async () => {
  const { queues, elections } = leader.sessions;
  const patience = {
    waitMs: undefined,
    deadlineMs: 100_000,
    isRouted: false,
    signal: new AbortController().signal,
  };
  const follow = follower.sessions.elections.follow('e');
  expect(follower.sessions.elections.leader('e')).toBeUndefined();
  const one = await cluster.settle(queues.campaign('e', 1n, Buffer.from('one'), patience));
  const two = noted(queues.campaign('e', 2n, Buffer.from('two'), patience));
  await cluster.settle(follow.changed(follower.clock, 10_000, patience.signal));
  expect(follower.sessions.elections.leader('e')).toMatchObject({ session: 1n, token: one.token });
  await cluster.settle(leader.propose({ kind: Kind.revoke, lease: 1n }));
  await cluster.run(20);
  expect(two.end).toMatchObject({ holds: 1 });
  await cluster.settle(follow.changed(follower.clock, 10_000, patience.signal));
  expect(follower.sessions.elections.leader('e')).toMatchObject({ session: 2n });
  const quiet = cluster.world.nowMs();
  await cluster.settle(follow.changed(follower.clock, 3_000, patience.signal));
  expect(cluster.world.nowMs() - quiet).toBe(3_000);
  follow.close();
  expect(follower.sessions.elections.size).toBe(0);
  expect(elections.size).toBe(0);
});

test('what became of an earlier sending, which a node hears of late, does not end a call', async () => {
  const first = await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const leaving = new AbortController();
  const former = noted(cluster.acquire(cluster.nodes[2]!, 2, 'lock', { signal: leaving.signal }));
  await cluster.run(100);
  leaving.abort();
  await cluster.run(1);
  // In the log behind the former call and its end, of which this node has applied neither.
  const again = noted(cluster.acquire(follower, 2, 'lock'));
  await cluster.run(500);
  expect([former.end, again.end]).toMatchObject([{ reason: 'CANCELLED' }, undefined]);
  await cluster.release(leader, 1, 'lock', first.token);
  await cluster.run(20);
  expect(again.end).toMatchObject({ holds: 1 });
});

test('whose time is over leaves the place to a later sending of the same request', async () => {
  const first = await cluster.settle(cluster.acquire(leader, 1, 'lock'));
  const early = noted(cluster.acquire(follower, 2, 'lock', { waitMs: 500 }));
  await cluster.run(100);
  const later = noted(cluster.acquire(cluster.nodes[2]!, 2, 'lock'));
  await cluster.run(1_000);
  expect(early.end).toMatchObject({ reason: 'LOCK_TIMED_OUT', outcome: 'UNKNOWN' });
  expect(later.end).toBe(undefined);
  await cluster.release(leader, 1, 'lock', first.token);
  await cluster.run(20);
  expect(later.end).toMatchObject({ holds: 1 });
});
