/** Configuration, leases, locks and elections of a real node by the command line. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RealNode, until as untilWithin } from '../process/real-node.ts';
import { runHoldfast } from './run-holdfast.ts';
import { RunningHoldfast } from './running-holdfast.ts';

let node: RealNode;
const started: RunningHoldfast[] = [];
beforeAll(async () => {
  node = await RealNode.start();
});
afterAll(async () => {
  for (const one of started) one.child.kill('SIGKILL');
  await node[Symbol.asyncDispose]();
});

const until = (ask: () => boolean | Promise<boolean>) =>
  untilWithin(ask, 20_000, () => 'what was waited for');
const run = (args: readonly string[], input?: string) =>
  runHoldfast(args, { env: { HOLDFAST_ENDPOINTS: node.grpc }, ...(input !== undefined && { input }) });

function running(...args: string[]): RunningHoldfast {
  const one = new RunningHoldfast(node.grpc, ...args);
  started.push(one);
  return one;
}

async function lines(...args: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await run(args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.toString().trimEnd().split('\n');
}

async function json(...args: string[]): Promise<Record<string, unknown>> {
  return JSON.parse((await lines(...args, '--json')).join('')) as Record<string, unknown>;
}

async function refused(code: number, reason: string, ...args: string[]): Promise<void> {
  const end = args.indexOf('--');
  const all = end < 0 ? [...args, '--json'] : [...args.slice(0, end), '--json', ...args.slice(end)];
  const finished = await run(all);
  expect([finished.code, JSON.parse(finished.stderr)]).toMatchObject([code, { error: { reason } }]);
}

describe('configuration', () => {
  it('is written, read, listed and deleted', async () => {
    const put = await json('config', 'put', 'app/a', 'one');
    const revision = put['revision'] as string;
    expect(await lines('config', 'get', 'app/a')).toEqual(['one']);
    expect(await json('config', 'get', 'app/a')).toEqual({
      key: 'app/a',
      value: 'one',
      create_revision: revision,
      mod_revision: revision,
      version: '1',
      lease: null,
    });
    expect(await lines('config', 'put', 'app/a', 'two', '--previous')).toEqual([
      `revision ${BigInt(revision) + 1n}`,
      'before: one',
    ]);
    expect(await lines('config', 'get', 'app/a', '--revision', revision)).toEqual(['one']);
    await lines('config', 'put', 'app/b', '--', '-three');
    expect(await lines('config', 'list', 'app/')).toEqual(['app/a\ttwo', 'app/b\t-three']);
    expect(await lines('config', 'list', 'app/', '--descending', '--keys-only')).toEqual(['app/b', 'app/a']);
    expect(await lines('config', 'list', 'app/', '--count')).toEqual(['2']);
    expect(await lines('config', 'list', '--sort-by', 'mod-revision', '--limit', '1')).toEqual([
      'app/a\ttwo',
    ]);
    expect((await lines('config', 'del', 'app/', '--prefix'))[0]).toMatch(/^deleted 2 at revision \d+$/);
    expect(await lines('config', 'del', 'app/a')).toEqual(['there was nothing to delete']);
    await refused(1, 'KEY_NOT_FOUND', 'config', 'get', 'app/a');
    expect((await lines('config', 'status'))[0]).toMatch(/^REVISION +HISTORY FROM +KEYS +BYTES +WATCHES$/);
    expect(await json('config', 'status')).toMatchObject({ quota_bytes: '268435456' });
  });

  it('is refused what it should not do', async () => {
    await lines('config', 'put', 'there', 'x', '--if-absent');
    await refused(1, 'REVISION_MISMATCH', 'config', 'put', 'there', 'y', '--if-absent');
    await refused(1, 'REVISION_MISMATCH', 'config', 'put', 'there', 'y', '--if-revision', '1');
    await refused(1, 'LEASE_UNKNOWN', 'config', 'put', 'there', 'y', '--lease', '99');
    await refused(1, 'KEY_RESERVED', 'config', 'put', '/holdfast/x', 'y');
    await refused(1, 'KEY_EMPTY', 'config', 'put', '', 'y');
    await refused(1, 'REVISION_FUTURE', 'config', 'get', 'there', '--revision', '99999');
    await refused(1, 'REVISION_FUTURE', 'config', 'compact', '99999');
    await refused(1, 'RANGE_INVERTED', 'config', 'list', '--start', 'b', '--end', 'a');
    await refused(2, 'USAGE', 'config', 'list', 'a', '--start', 'b');
    await refused(2, 'USAGE', 'config', 'put', 'a', 'b', '--if-absent', '--if-revision', '3');
    await refused(2, 'USAGE', 'config', 'get', 'a', '--revision', 'x');
  });

  it('is compared and changed by a transaction', async () => {
    const transaction = {
      if: [{ key: 'leader', exists: false }],
      then: [{ put: 'leader', value: 'me' }, { list: { prefix: 'leader' } }],
      else: [{ get: 'leader' }],
    };
    const first = await run(['config', 'txn', '-'], JSON.stringify(transaction));
    expect(JSON.parse(first.stdout.toString())).toMatchObject({
      succeeded: true,
      results: [{}, { entries: [{ value: 'me' }], more: false }],
    });
    const second = await run(['config', 'txn'], JSON.stringify(transaction));
    expect(JSON.parse(second.stdout.toString())).toMatchObject({
      succeeded: false,
      results: [{ entry: { value: 'me' } }],
    });
    for (const bad of ['{', '[]', '{"when":[]}', '{"then":[{"poke":"x"}]}', '{"if":[{"key":"a"}]}'])
      expect([(await run(['config', 'txn', '-'], bad)).code, bad]).toEqual([2, bad]);
  });

  it('tells of a transaction what was there before, only where that was asked for', async () => {
    await lines('config', 'put', 'before', 'old');
    const transact = async (...then: object[]) => {
      const { stdout } = await run(['config', 'txn'], JSON.stringify({ then }));
      return (JSON.parse(stdout.toString()) as { results: object[] }).results;
    };
    expect(await transact({ put: 'before', value: 'new' })).toEqual([{}]);
    const asked = await transact({ put: 'before', value: 'newer', return_previous: true });
    expect(asked).toMatchObject([{ previous: { value: 'new' } }]);
    const absent = await transact({ put: 'before/2', value: 'x', return_previous: true });
    expect(absent).toEqual([{ previous: null }]);
    expect(await transact({ delete: { prefix: 'before' }, return_previous: true })).toMatchObject([
      { deleted: 2, previous: [{ value: 'newer' }, { value: 'x' }] },
    ]);
    expect(await transact({ delete: 'before' })).toEqual([{ deleted: 0 }]);
  });

  it('is watched until interrupted', async () => {
    const { revision } = await json('config', 'put', 'seen/1', 'past');
    const watch = running(
      'config',
      'watch',
      'seen/',
      '--prefix',
      '--from',
      revision as string,
      '--json',
      '--previous',
    );
    await watch.said('past');
    await lines('config', 'put', 'seen/1', 'now');
    await lines('config', 'del', 'seen/1');
    await watch.said('delete');
    expect(await watch.end('SIGINT')).toBe(0);
    expect(watch.lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { type: 'put', key: 'seen/1', value: 'past', mod_revision: revision, previous: null },
      { type: 'put', value: 'now', previous: { value: 'past' } },
      { type: 'delete', key: 'seen/1', previous: { value: 'now' } },
    ]);
    expect(await lines('config', 'watch', 'seen/1', '--from', revision as string, '--limit', '1')).toEqual([
      `PUT    ${revision as string}\tseen/1\tpast`,
    ]);
  });
});

describe('leases', () => {
  it('are granted, kept alive, described and revoked', async () => {
    const [lease] = await lines('lease', 'grant', '--ttl', '60s', '--name', 'me');
    await lines('config', 'put', 'hangs', 'x', '--lease', lease!);
    expect(await json('lease', 'describe', lease!)).toMatchObject({
      lease,
      name: 'me',
      ttl_ms: 60_000,
      keys: [{ key: 'hangs' }],
    });
    expect(await json('lease', 'keep-alive', lease!, '--once')).toEqual({ lease, ttl_ms: 60_000 });
    expect((await json('lease', 'list'))['leases']).toContainEqual({ lease, name: 'me', ttl_ms: 60_000 });
    const keeping = running('lease', 'keep-alive', lease!, '--json');
    await keeping.said(lease!);
    expect(await keeping.end()).toBe(0);
    expect(await lines('lease', 'revoke', lease!)).toEqual(['revoked']);
    await refused(1, 'KEY_NOT_FOUND', 'config', 'get', 'hangs');
    for (const command of ['describe', 'revoke', 'keep-alive'])
      await refused(1, 'LEASE_UNKNOWN', 'lease', command, lease!);
    await refused(1, 'TTL_OUT_OF_RANGE', 'lease', 'grant', '--ttl', '1ms');
  });
});

describe('locks', () => {
  it('are held while a command runs, which is given the token, and whose code is passed on', async () => {
    const command = 'echo "$HOLDFAST_LOCK_NAME $HOLDFAST_LOCK_TOKEN"; exit 7';
    const { code, stdout } = await run(['lock', 'run', 'cli', '--', 'sh', '-c', command]);
    expect([code, stdout.toString()]).toMatchObject([7, expect.stringMatching(/^cli \d+\n$/)]);
    expect((await json('lock', 'list'))['locks']).toEqual([]);
    expect((await run(['lock', 'run', 'cli', '--', 'no-such-program'])).code).toBe(127);
  });

  it('are refused to others at once or after a while, and shown', async () => {
    const holder = running('lock', 'run', 'held', '--', 'sh', '-c', 'echo running; exec sleep 60');
    await holder.said('running');
    await refused(75, 'LOCK_HELD', 'lock', 'run', 'held', '--wait', '0', '--', 'true');
    await refused(77, 'LOCK_TIMED_OUT', 'lock', 'run', 'held', '--wait', '200ms', '--', 'true');
    await refused(75, 'LOCK_HELD', 'lock', 'run', 'held', '--shared', '--wait', '0', '--', 'true');
    expect(await json('lock', 'describe', 'held')).toMatchObject({
      holders: [{ mode: 'exclusive', holds: 1 }],
      waiters: [],
    });
    expect((await lines('lock', 'list', 'he'))[1]).toMatch(/^held +1 +0 +\d+$/);
    const waiter = running('lock', 'run', 'held', '--', 'echo', 'mine');
    await until(async () => (await json('lock', 'describe', 'held'))['waiting'] === 1);
    expect(await holder.end('SIGTERM')).toBe(143); // passed on to the command
    expect([await waiter.ended, waiter.lines]).toEqual([0, ['mine']]);
  });

  it('that are lost end the command with --kill, and only warn without', async () => {
    for (const [args, code] of [
      [['--kill'], 76],
      [[], 5],
    ] as const) {
      const command = 'trap "" TERM; echo running; sleep 3; exit 5';
      const grace = ['--grace', '300ms'];
      const holder = running(
        'lock',
        'run',
        'lost',
        '--ttl',
        '1s',
        ...grace,
        ...args,
        '--',
        'sh',
        '-c',
        command,
      );
      await holder.said('running');
      const { holders } = (await json('lock', 'describe', 'lost')) as { holders: { session: string }[] };
      await lines('lease', 'revoke', holders[0]!.session);
      await holder.said('is lost');
      expect(await holder.ended).toBe(code);
    }
  });
});

describe('elections', () => {
  it('are won, observed, described and left', async () => {
    const observer = running('elect', 'first', '--observe', '--json');
    await observer.said('null');
    const leader = running('elect', 'first', 'here:1');
    await leader.said('elected');
    await refused(77, 'ELECTION_TIMED_OUT', 'elect', 'first', 'there:2', '--wait', '200ms');
    expect(await json('elect', 'first', '--describe')).toMatchObject({
      leader: { value: 'here:1' },
      candidates: [],
    });
    await observer.said('here:1');
    const candidate = running('elect', 'first', 'there:3');
    await until(async () => candidates(await json('elect', 'first', '--describe')) === 1);
    // Nothing of it is left to its time.
    const sessions = async () => (await json('lease', 'list'))['leases'];
    expect(await candidate.end('SIGINT')).toBe(0);
    expect(await sessions()).toHaveLength(1);
    expect(await leader.end('SIGINT')).toBe(0);
    expect(await sessions()).toEqual([]);
    await until(async () => observer.lines.at(-1)?.includes('null') === true);
    expect(await observer.end()).toBe(0);
    await refused(2, 'USAGE', 'elect', 'first', 'x', '--observe');
  });
});

function candidates(described: Record<string, unknown>): number {
  return (described['candidates'] as string[]).length;
}
