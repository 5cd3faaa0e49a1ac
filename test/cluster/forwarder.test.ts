/** Writes for groups that another node leads, with a network that the test is. */
import { expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import type { ProposeRequest } from '@holdfast/proto/raft/v1/forward';
import { ClusterRig, MEMBERS, commandsOf, noLeader, notLeader, results, unreachable } from './cluster-rig.ts';

/** A rig whose replica says that another node leads. */
function following(leader = 2, queueBytes?: number): ClusterRig {
  const rig = new ClusterRig(queueBytes);
  rig.replica = { leader };
  return rig;
}

test('what comes in a turn goes in one call, and what comes meanwhile in the next', async () => {
  const rig = following();
  rig.propose('a');
  rig.propose('b');
  const first = await rig.next();
  expect([first.to, commandsOf(first)]).toEqual(['n2:1', 'ab']);
  rig.propose('c');
  rig.propose('d');
  await rig.run(100);
  expect(rig.calls).toEqual([]);
  first.answer(results('one', 'two'));
  const second = await rig.next();
  expect(commandsOf(second)).toBe('cd');
  second.answer(
    results('three', new HoldfastError({ reason: 'DISK_LOW', message: 'low', outcome: 'NOT_APPLIED' })),
  );
  await rig.run();
  expect(rig.ends).toEqual(['a one', 'b two', 'c three', 'd DISK_LOW NOT_APPLIED']);
  expect(rig.forwarder.queuedBytes).toBe(0);
  expect(rig.observed).toEqual(['write OK', 'write OK', 'write OK', 'write DISK_LOW']);
});

test('what is left of the time goes along with each command', async () => {
  const rig = following();
  rig.propose('a', 10, 400);
  rig.propose('b', 10, 3_000);
  const { request, timeoutMs } = await rig.next();
  expect((request as ProposeRequest).commands.map((command) => command.timeoutMs)).toEqual([400, 3_000]);
  expect(timeoutMs).toBe(3_000);
});

test('a refusal is followed to the leader that it names, before what came later', async () => {
  const rig = following();
  rig.propose('a');
  const first = await rig.next();
  rig.propose('b');
  first.fail(notLeader('n3:1'));
  const second = await rig.next(10);
  expect([second.to, commandsOf(second)]).toEqual(['n3:1', 'ab']);
  // In the midst of it the leader stops leading: what had not been proposed is asked for again, in its order.
  rig.propose('c');
  second.answer(results(notLeader('n2:1'), notLeader('n2:1')));
  const third = await rig.next(100);
  expect(commandsOf(third)).toBe('abc');
  third.answer(results('1', '2', '3'));
  await rig.run();
  expect(rig.ends).toEqual(['a 1', 'b 2', 'c 3']);
});

test('a broken call leaves its writes unknown, and they are not sent again', async () => {
  const rig = following();
  rig.propose('a');
  const first = await rig.next();
  rig.propose('b');
  first.fail(unreachable());
  rig.replica!.leader = 3;
  const second = await rig.next();
  expect([second.to, commandsOf(second)]).toEqual(['n3:1', 'b']);
  second.answer(results('done'));
  await rig.run();
  expect(rig.ends).toEqual(['a UNAVAILABLE UNKNOWN', 'b done']);
});

test('a call that was never sent is made again, elsewhere for a while', async () => {
  const rig = following();
  rig.propose('a');
  (await rig.next()).fail(unreachable('NOT_APPLIED'));
  for (const asked of ['n3:1', 'n4:1']) {
    const probe = await rig.next();
    expect([probe.to, commandsOf(probe)]).toEqual([asked, '']);
    probe.fail(notLeader());
  }
  await rig.run(2_000);
  while (rig.calls.length > 0) rig.calls.shift()!.fail(notLeader());
  const again = await rig.next();
  expect([again.to, commandsOf(again)]).toEqual(['n2:1', 'a']);
});

test('a refusal that is not about leading ends the writes', async () => {
  const rig = following();
  rig.propose('a');
  const full = new HoldfastError({ reason: 'OVERLOADED', message: 'full', outcome: 'NOT_APPLIED' });
  (await rig.next()).fail(full);
  await rig.run();
  expect(rig.ends).toEqual(['a OVERLOADED NOT_APPLIED']);
});

test('without a leader a write is given up before its deadline, and was not applied', async () => {
  const rig = new ClusterRig();
  rig.propose('a', 10, 1_000);
  const asked = new Set<string>();
  while (rig.ends.length === 0) {
    const probe = await rig.next();
    if (probe === undefined) break;
    asked.add(probe.to);
    expect(commandsOf(probe)).toBe('');
    probe.fail(notLeader());
    await rig.run();
  }
  expect(rig.ends).toEqual(['a NOT_LEADER NOT_APPLIED']);
  expect(rig.clock.monotonicMs()).toBeLessThan(1_000);
  expect([...asked].sort()).toEqual(['n2:1', 'n3:1', 'n4:1']);
});

test('where nobody has led for long a write ends at once, when all who can be asked have been', async () => {
  const rig = new ClusterRig();
  rig.unled = { forMs: 6_000, needed: 2, heard: ['n1'], silent: ['n2', 'n3'] };
  rig.propose('a');
  for (let asked = 0; asked < 3; asked++) {
    expect(rig.ends).toEqual([]);
    (await rig.next()).fail(asked === 1 ? noLeader() : unreachable('NOT_APPLIED'));
  }
  await rig.run(60);
  expect(rig.ends).toEqual(['a NO_LEADER NOT_APPLIED']);
  rig.propose('b');
  (await rig.next()).fail(noLeader()); // the others could not be reached a moment ago
  await rig.run(60);
  expect(rig.ends).toEqual(['a NO_LEADER NOT_APPLIED', 'b NO_LEADER NOT_APPLIED']);
  expect(rig.clock.monotonicMs()).toBeLessThan(500);
});

test('that nobody leads one group says nothing of another one', async () => {
  const rig = new ClusterRig();
  const other = { group: 8, replicas: [2, 3, 1], isGone: false };
  rig.routes.leads(other, MEMBERS[2]!);
  rig.routes.leads(rig.place, MEMBERS[2]!);
  rig.propose('a');
  const call = await rig.next();
  expect(call.to).toBe('n3:1');
  call.fail(noLeader());
  await rig.run();
  expect(rig.routes.next(other)).toMatchObject({ member: { name: 'n3' }, isLeader: true });
});

test('a write goes on waiting when the replica here learns who leads', async () => {
  const rig = new ClusterRig();
  rig.replica = { leader: undefined };
  rig.propose('a');
  (await rig.next()).fail(noLeader());
  for (let asked = 1; asked < 3; asked++) (await rig.next()).fail(unreachable('NOT_APPLIED'));
  rig.replica = { leader: 3 };
  await rig.run(200);
  expect(rig.ends).toEqual([]);
  let call = await rig.next(2_500);
  for (; call.to !== 'n3:1'; call = await rig.next(2_500)) call.fail(noLeader());
  call.answer(results('1'));
  await rig.run();
  expect(rig.ends).toEqual(['a 1']);
});

test('one that knows a leader is followed, whatever others say', async () => {
  const rig = new ClusterRig();
  rig.propose('a');
  (await rig.next()).fail(noLeader());
  (await rig.next()).fail(notLeader('n4:1'));
  const call = await rig.next();
  expect([call.to, commandsOf(call)]).toEqual(['n4:1', 'a']);
  call.answer(results('1'));
  await rig.run();
  expect(rig.ends).toEqual(['a 1']);
});

test('without a replica here the leader is looked for, and remembered until it denies it', async () => {
  const rig = new ClusterRig();
  rig.propose('a');
  (await rig.next()).fail(notLeader('n3:1'));
  const first = await rig.next(10);
  expect([first.to, commandsOf(first)]).toEqual(['n3:1', 'a']);
  first.answer(results('1'));
  await rig.run();
  rig.propose('b');
  const second = await rig.next(10);
  expect([second.to, commandsOf(second)]).toEqual(['n3:1', 'b']);
  second.fail(notLeader('n2:1'));
  const third = await rig.next(10);
  expect([third.to, commandsOf(third)]).toEqual(['n2:1', 'b']);
  third.answer(results('2'));
  await rig.run();
  expect(rig.ends).toEqual(['a 1', 'b 2']);
});

test('nodes that name each other are not followed without a pause', async () => {
  const rig = new ClusterRig();
  rig.propose('a', 10, 1_000);
  let calls = 0;
  while (rig.ends.length === 0) {
    const call = await rig.next();
    if (call === undefined) break;
    calls++;
    call.fail(notLeader(call.to === 'n2:1' ? 'n3:1' : 'n2:1'));
    await rig.run();
  }
  expect(rig.ends).toEqual(['a NOT_LEADER NOT_APPLIED']);
  expect(calls).toBeLessThan(25);
});

test('what the replica here comes to lead is proposed here, and taken back when it no longer does', async () => {
  const rig = following(2);
  rig.propose('a');
  rig.replica!.leader = 1;
  await rig.run();
  expect(rig.calls).toEqual([]);
  rig.propose('b');
  expect(rig.proposed.map(({ bytes }) => String.fromCharCode(bytes[0]!))).toEqual(['a', 'b']);
  rig.replica!.leader = 3;
  rig.propose('c');
  for (const proposal of rig.proposed) proposal.onFailed({ cause: 'not leader', outcome: 'NOT_APPLIED' });
  const call = await rig.next();
  expect([call.to, commandsOf(call)]).toEqual(['n3:1', 'abc']);
  expect(rig.ends).toEqual([]);
});

test('what this node had in its log is not sent anywhere', async () => {
  const rig = following(1);
  rig.propose('a');
  rig.replica!.leader = 3;
  rig.proposed[0]!.onFailed({ cause: 'not leader', outcome: 'UNKNOWN' });
  await rig.run(200);
  expect(rig.ends).toEqual(['a NOT_LEADER UNKNOWN']);
  expect(rig.calls).toEqual([]);
});

test('a call to a node that leads no more, as this one learns, is given up', async () => {
  const rig = following(2);
  rig.propose('a');
  const { signal } = await rig.next();
  await rig.run(1_000);
  expect(signal!.aborted).toBe(false);
  rig.replica!.leader = 3;
  await rig.run(300);
  expect(signal!.aborted).toBe(true);
});

test('what waits is bounded in bytes', async () => {
  const rig = following(2, 1_000);
  for (const name of ['a', 'b', 'c']) rig.propose(name, 400);
  expect(rig.ends).toEqual(['c OVERLOADED NOT_APPLIED']);
  (await rig.next()).answer(results('1', '2'));
  await rig.run();
  rig.propose('d', 5_000); // alone it may be larger
  (await rig.next()).answer(results('4'));
  await rig.run();
  expect(rig.ends.slice(1)).toEqual(['a 1', 'b 2', 'd 4']);
  expect(rig.forwarder.queuedBytes).toBe(0);
});

test('a call carries so many commands and bytes, no more', async () => {
  const rig = following(2, 100_000_000);
  for (const name of ['a', 'b', 'c']) rig.propose(name, 3_000_000);
  for (const expected of ['a', 'b', 'c']) {
    const call = await rig.next();
    expect(commandsOf(call)).toBe(expected);
    call.answer(results('x'));
    await rig.run();
  }
  for (let i = 0; i < 5_000; i++) rig.propose('m');
  const call = await rig.next();
  expect(commandsOf(call)).toHaveLength(4_096);
});

test('writes of a keyspace that was dropped end', async () => {
  const rig = new ClusterRig();
  rig.propose('a');
  const probe = await rig.next();
  rig.place.isGone = true;
  probe.fail(notLeader());
  await rig.run(100);
  expect(rig.ends).toEqual(['a KEYSPACE_UNKNOWN NOT_APPLIED']);
});

test('a node that stops gives up what waits', async () => {
  const rig = following();
  rig.propose('a');
  const { signal, fail } = await rig.next();
  rig.propose('b');
  rig.forwarder.stop();
  expect(signal!.aborted).toBe(true);
  fail(unreachable());
  await rig.run(100);
  rig.propose('c');
  expect(rig.ends).toEqual([
    'b SHUTTING_DOWN NOT_APPLIED',
    'a SHUTTING_DOWN UNKNOWN',
    'c SHUTTING_DOWN NOT_APPLIED',
  ]);
  expect(rig.calls).toEqual([]);
  expect(rig.forwarder.queuedBytes).toBe(0);
});

test('a call that was not sent before the node stops is not tried again', async () => {
  const rig = following();
  rig.propose('a');
  const { fail } = await rig.next();
  rig.forwarder.stop();
  fail(unreachable('NOT_APPLIED'));
  await rig.run(1);
  expect(rig.ends).toEqual(['a SHUTTING_DOWN NOT_APPLIED']);
  expect(rig.calls).toEqual([]);
});

test('an error that is none of ours leaves the write unknown, and the next one is tried', async () => {
  const rig = following();
  rig.propose('a');
  const first = await rig.next();
  first.fail(new TypeError('a file is gone') as unknown as HoldfastError);
  await rig.run(5_000);
  expect(rig.ends).toEqual(['a INTERNAL UNKNOWN']);
  expect(rig.forwarder.queuedBytes).toBe(0);
});

test('an answer that cannot be read leaves the write unknown', async () => {
  const rig = following();
  rig.propose('a');
  (await rig.next()).answer(results());
  await rig.run();
  expect(rig.ends).toEqual(['a INTERNAL UNKNOWN']);
});
