/** Commands that hold something, on three real nodes of which some die; and what they say of it. */
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RealCluster } from '../process/real-cluster.ts';
import { until as untilWithin } from '../process/real-node.ts';
import { runHoldfast, temporaryDirectory } from './run-holdfast.ts';
import { RunningHoldfast } from './running-holdfast.ts';

let cluster: RealCluster;
beforeAll(async () => {
  cluster = await RealCluster.start();
});
afterAll(() => cluster[Symbol.asyncDispose]());

const endpoints = () => cluster.endpoints.join(',');
const until = (ask: () => Promise<boolean>) => untilWithin(ask, 30_000, () => 'what was waited for');
const running = (...args: string[]) => new RunningHoldfast(endpoints(), ...args);
const run = (args: readonly string[], input = '') =>
  runHoldfast(args, { env: { HOLDFAST_ENDPOINTS: endpoints() }, input });

async function json<T>(...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await run([...args, '--json']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout.toString()) as T;
}

async function refusal(args: readonly string[], input = ''): Promise<[number | null, unknown]> {
  const { code, stderr } = await run([...args.slice(0, 2), '--json', ...args.slice(2)], input);
  return [code, (JSON.parse(stderr) as { error: { reason: string } }).error.reason];
}

interface Described {
  readonly holders: { readonly session: string; readonly name: string }[];
  readonly waiters: { readonly session: string }[];
  readonly waiting: number;
}
const describeLock = (name: string) => json<Described>('lock', 'describe', name);

describe('lock run', () => {
  it('lets as many in as a semaphore has permits', async () => {
    const semaphore = ['--mode', 'semaphore', '--permits', '2'];
    const command = ['--', 'sh', '-c', 'echo in; exec sleep 60'];
    await using one = running('lock', 'run', 'gpu', ...semaphore, '--holder', 'first', ...command);
    await using two = running('lock', 'run', 'gpu', '--permits', '2', ...command);
    await Promise.all([one.said('in'), two.said('in')]);
    expect(await refusal(['lock', 'run', 'gpu', ...semaphore, '--wait', '0', '--', 'true'])).toEqual([
      75,
      'LOCK_HELD',
    ]);
    const { holders } = await describeLock('gpu');
    expect(holders.map(({ name }) => name)).toContain('first');
    expect(holders.some(({ name }) => / \d+ sh$/.test(name))).toBe(true);
    for (const wrong of [
      ['--mode', 'semaphore'],
      ['--shared', '--permits', '2'],
      ['--kill', '--on-loss', 'warn'],
    ])
      expect(await refusal(['lock', 'run', 'gpu', ...wrong, '--', 'true'])).toEqual([2, 'USAGE']);
  });

  it('sends signals also to what the command has started', async () => {
    await using holder = running('lock', 'run', 'deep', '--', 'sh', '-c', 'sleep 60 & echo "pid $!"; wait');
    await holder.said('pid ');
    const pid = Number(holder.lines[0]!.slice(4));
    expect(await holder.end('SIGTERM')).toBe(143);
    await until(async () => !isAlive(pid));
    expect((await describeLock('deep')).holders).toEqual([]);
  });

  it('says that a command cannot be run, and leaves the lock free', async () => {
    using directory = temporaryDirectory({ plain: 'text' });
    const plain = join(directory.path, 'plain');
    chmodSync(plain, 0o644);
    expect(await refusal(['lock', 'run', 'none', '--', 'no-such-program'])).toEqual([127, 'USAGE']);
    expect(await refusal(['lock', 'run', 'none', '--', plain])).toEqual([126, 'USAGE']);
    expect((await describeLock('none')).holders).toEqual([]);
  });

  it('waits anew when its session ends, and leaves nothing when it is ended', async () => {
    await using holder = running('lock', 'run', 'queue', '--', 'sh', '-c', 'echo in; exec sleep 60');
    await holder.said('in');
    await using waiter = running('lock', 'run', 'queue', '--', 'echo', 'mine');
    await using leaver = running('lock', 'run', 'queue', '--', 'echo', 'never');
    await until(async () => (await describeLock('queue')).waiting === 2);
    expect(await leaver.end('SIGTERM')).toBe(143);
    await until(async () => (await describeLock('queue')).waiting === 1);
    const { session } = (await describeLock('queue')).waiters[0]!;
    await json('lease', 'revoke', session);
    const hasAnother = async () => {
      const { waiters } = await describeLock('queue');
      return waiters.length === 1 && waiters[0]!.session !== session;
    };
    await until(hasAnother);
    await holder.end();
    expect([await waiter.ended, waiter.lines, leaver.lines]).toEqual([0, ['mine'], []]);
  });
});

describe('config', () => {
  it('takes prefixes and ranges wherever it takes a key', async () => {
    await Promise.all(['r/1', 'r/2', 'r/3'].map((key) => run(['config', 'put', key, key])));
    const text = async (...args: string[]) => (await run(['config', ...args])).stdout.toString();
    expect(await text('get', 'r/', '--prefix', '--keys-only', '--descending')).toBe('r/3\nr/2\nr/1\n');
    expect(await text('get', 'r/1', '--range-end', 'r/3')).toBe('r/1\tr/1\nr/2\tr/2\n');
    expect(await text('get', 'r/', '--prefix', '--count-only')).toBe('3\n');
    expect(await text('del', 'r/1', '--range-end', 'r/3')).toMatch(/^deleted 2 at revision \d+\n$/);
    for (const wrong of [
      ['get', 'r/1', '--limit', '1'],
      ['get', 'r/', '--prefix', '--range-end', 'r/9'],
      ['del', 'r/', '--range-end', 'r/9', '--if-revision', '3'],
    ])
      expect(await refusal(['config', ...wrong])).toEqual([2, 'USAGE']);
  });

  it('takes values from standard input, and numbers as --json shows them', async () => {
    await run(['config', 'put', 'piped', '-'], 'from a pipe');
    const { stdout } = await run(['lease', 'grant', '--ttl', '1h']);
    const lease = stdout.toString().trim();
    const entry = await json<Record<string, string>>('config', 'get', 'piped');
    expect(entry['value']).toBe('from a pipe');
    const transaction = {
      if: [
        { key: 'piped', mod_revision: entry['mod_revision'] },
        { key: 'piped', version: 1 },
      ],
      then: [{ put: 'piped', value: 'leased', lease }],
    };
    const done = await run(['config', 'txn'], JSON.stringify(transaction));
    expect(JSON.parse(done.stdout.toString())).toMatchObject({ succeeded: true });
    expect(await json('config', 'get', 'piped')).toMatchObject({ value: 'leased', lease });
    await run(['config', 'put', 'piped', 'kept', '--keep-lease']);
    expect(await json('config', 'get', 'piped')).toMatchObject({ value: 'kept', lease });
    for (const bad of [
      { if: [{ key: 'a', version: '1.5' }] },
      { if: [{ key: 'a', version: 1, value: 'x' }] },
      { then: [{ put: 'a', value: 'b', ttl: 5 }] },
      { then: [{ transaction: { then: [{ get: 'a', limit: 3 }] } }] },
    ])
      expect(await refusal(['config', 'txn'], JSON.stringify(bad))).toEqual([2, 'USAGE']);
  });

  it('says plainly that a watch has missed what was compacted', async () => {
    const { revision } = await json<{ revision: string }>('config', 'put', 'seen', 'one');
    const later = await json<{ revision: string }>('config', 'put', 'seen', 'two');
    await json('config', 'compact', later.revision);
    await using watch = running('config', 'watch', 'seen', '--from', revision);
    await watch.said('RESYNC');
    await watch.said(`${later.revision}\tseen\ttwo`);
    expect(await watch.end('SIGINT')).toBe(0);
    expect(watch.lines[0]).toBe(
      `RESYNC up to revision ${BigInt(later.revision) - 1n}: what changed before was compacted; read it anew`,
    );
  });
});

// Last: it leaves one node.
it('goes on when the leader is killed, and says when there is no majority', async () => {
  await using holder = running(
    'lock',
    'run',
    'kept',
    '--on-loss',
    'kill',
    '--',
    'sh',
    '-c',
    'echo in; exec sleep 300',
  );
  await using leader = running('elect', 'first', 'here:1');
  await using watch = running('config', 'watch', 'w/', '--prefix');
  const { lease } = await json<{ lease: string }>('lease', 'grant', '--ttl', '6s');
  await using keeping = running('lease', 'keep-alive', lease, '--json');
  await Promise.all([holder.said('in'), leader.said('elected'), keeping.said(lease)]);
  const first = await cluster.leaderOf(0n);
  await cluster.node(first).kill();
  await json('config', 'put', 'w/1', 'after');
  await watch.said('w/1');
  const kept = keeping.lines.length;
  await until(async () => keeping.lines.length > kept + 1);
  expect(await refusal(['lock', 'run', 'kept', '--wait', '0', '--', 'true'])).toEqual([75, 'LOCK_HELD']);
  expect(await json('elect', 'first', '--describe')).toMatchObject({ leader: { value: 'here:1' } });

  const second = cluster.names.find((name) => name !== first)!;
  await cluster.node(second).kill();
  for (const command of [
    ['lock', 'run', 'new', '--', 'true'],
    ['elect', 'new', '--wait', '1s'],
  ])
    expect(await refusal(command)).toEqual([78, 'NO_LEADER']);
  await holder.said('is lost: the command is ended');
  await leader.said('is lost');
  expect([await holder.ended, await leader.ended]).toEqual([76, 76]);
  // Only when the lease may have ended.
  expect(await keeping.ended).toBe(1);
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
