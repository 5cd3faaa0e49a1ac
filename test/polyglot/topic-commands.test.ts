/** `holdfast topic …` and `holdfast group …` against a real node. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type Holdfast } from '@holdfast/client';
import { RunningHoldfast } from '../main/running-holdfast.ts';
import { RealNode, until, within } from '../process/real-node.ts';
import { runProgram, type ProgramEnd } from './run-program.ts';

const HOLDFAST = fileURLToPath(new URL('../../node/bin/holdfast.js', import.meta.url));
const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/) as string;
const NUMBER = expect.any(Number) as number;
/** Nobody listens there. */
const NOWHERE = '127.0.0.1:9';
/** Less than the time that a call has by default, so that it was not waited for. */
const AT_ONCE_MS = 4_500;

let node: RealNode;
let client: Holdfast;
let directory: string;
beforeAll(async () => {
  node = await RealNode.start();
  client = await connect({ endpoints: [node.grpc] });
  directory = mkdtempSync(join(tmpdir(), 'holdfast-topics-'));
});
afterAll(async () => {
  await client.close();
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

function run(args: readonly string[], input?: string): Promise<ProgramEnd> {
  const env = { HOLDFAST_ENDPOINTS: node.grpc };
  return runProgram(process.execPath, [HOLDFAST, ...args], { env, ...(input !== undefined && { input }) });
}

/** What a command that ends well prints. */
async function text(args: readonly string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await run(args, input);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

async function rows(args: readonly string[], input?: string): Promise<Record<string, unknown>[]> {
  const printed = await text([...args, '--json'], input);
  return printed
    .split('\n')
    .slice(0, -1)
    .map((row) => JSON.parse(row) as Record<string, unknown>);
}

async function json(args: readonly string[], input?: string): Promise<Record<string, unknown>> {
  const printed = await rows(args, input);
  expect(printed.length).toBe(1);
  return printed[0]!;
}

async function refusal(args: readonly string[], input?: string) {
  const { code, stdout, stderr } = await run([...args, '--json'], input);
  expect(stdout).toBe('');
  const { error } = JSON.parse(stderr) as { error: Record<string, unknown> };
  return { code, reason: error['reason'], outcome: error['outcome'], message: String(error['message']) };
}

function inFile(name: string, content: string): string {
  const file = join(directory, name);
  writeFileSync(file, content);
  return file;
}

const valuesOf = (messages: readonly Record<string, unknown>[]) => messages.map(({ value }) => value);

describe('holdfast topic', () => {
  const settings = {
    cleanup_policy: 'delete',
    retention_ms: 604_800_000,
    retention_bytes: 0,
    segment_bytes: 67_108_864,
    segment_ms: 604_800_000,
    max_batch_bytes: 1_048_576,
    delete_retention_ms: 86_400_000,
    min_dirty_percent: 50,
  };

  it('create, list, describe, alter and delete', async () => {
    const id = expect.stringMatching(/^\d+$/) as string;
    const made = { name: 'orders', id, partitions: 2, replication: 1, created_at: TIME, ...settings };
    const created = { ...made, retention_ms: 2_592_000_000 };
    const create = ['topic', 'create', 'orders', '--partitions', '2', '--retention', '30d'];
    expect(await json(create)).toEqual(created);
    expect(await text(['topic', 'create', 'one'])).toBe('created one with 1 partition, 1 copy each\n');
    const { topics } = await json(['topic', 'list']);
    expect(topics).toEqual([{ ...made, name: 'one', partitions: 1 }, created]);
    const log = { leader: node.grpc, nodes: ['n1'], log_start: 0, log_end: 0, bytes: 0, segments: 0 };
    expect(await json(['topic', 'describe', 'orders'])).toEqual({
      ...created,
      partition_logs: [0, 1].map((partition) => ({ partition, ...log })),
    });
    const change = ['--retention', '2d', '--partitions', '3', '--cleanup', 'compact-and-delete'];
    expect(await json(['topic', 'alter', 'orders', ...change, '--segment-bytes', '1MiB'])).toEqual({
      ...created,
      partitions: 3,
      retention_ms: 172_800_000,
      cleanup_policy: 'compact-and-delete',
      segment_bytes: 1_048_576,
    });
    expect(await text(['topic', 'describe', 'orders'])).toMatch(
      /^NAME {4}PARTITIONS .*\norders {2}3 .*\n\nPARTITION {2}LEADER .*\n0 .*\n1 .*\n2 .*\n$/,
    );
    expect(await json(['topic', 'delete', 'orders'])).toEqual({ name: 'orders', deleted: true });
    expect(await text(['topic', 'delete', 'one'])).toBe('deleted one\n');
    expect(await json(['topic', 'list'])).toEqual({ topics: [] });
  });

  it('says what is wrong with a topic, and changes nothing', async () => {
    await json(['topic', 'create', 'there', '--partitions', '2']);
    const refused = (
      code: number,
      reason: string,
      message: RegExp,
      outcome: string | null = 'NOT_APPLIED',
    ) => ({
      code,
      reason,
      outcome,
      message: expect.stringMatching(message) as string,
    });
    const unknown = refused(1, 'TOPIC_UNKNOWN', /there is no topic "nope"/);
    expect(await refusal(['topic', 'create', 'there'])).toEqual(refused(1, 'TOPIC_EXISTS', /"there" exists/));
    expect(await refusal(['topic', 'create', 'Bad Name'])).toEqual(
      refused(1, 'TOPIC_NAME_INVALID', /"Bad Name" is none. Nothing was done/),
    );
    expect(await refusal(['topic', 'create', 'x', '--replication', '3'])).toEqual(
      refused(1, 'INVALID_FIELD', /replication is 3, and the cluster has 1 nodes/),
    );
    expect(await refusal(['topic', 'create', 'x', '--segment-bytes', '3'])).toEqual(
      refused(1, 'INVALID_FIELD', /segment_bytes is 3, allowed are 1048576\.\.1073741824/),
    );
    expect(await refusal(['topic', 'alter', 'there', '--partitions', '1'])).toEqual(
      refused(1, 'INVALID_FIELD', /never taken away/),
    );
    expect(await refusal(['topic', 'alter', 'nope', '--retention', '1d'])).toEqual(unknown);
    expect(await refusal(['topic', 'delete', 'nope'])).toEqual(unknown);
    expect(await refusal(['topic', 'describe', 'nope'])).toMatchObject({ code: 1, reason: 'TOPIC_UNKNOWN' });
    const usage = (message: RegExp) => refused(2, 'USAGE', message, null);
    expect(await refusal(['topic', 'create', 'x', '--cleanup', 'burn'])).toEqual(
      usage(/Allowed choices are delete, compact, compact-and-delete/),
    );
    expect(await refusal(['topic', 'create', 'x', '--partitions', '0'])).toEqual(
      usage(/whole numbers from 1/),
    );
    expect(await refusal(['topic', 'create', 'x', '--retention', '1y'])).toEqual(usage(/Allowed are 500ms/));
    const { topics } = (await json(['topic', 'list'])) as { topics: { name: string; partitions: number }[] };
    expect(topics.map(({ name, partitions }) => [name, partitions])).toEqual([['there', 2]]);
  });
});

describe('holdfast topic produce and consume', () => {
  it('a value, lines of a file and of stdin', async () => {
    await json(['topic', 'create', 'lines']);
    const sent = (records: number) => ({ topic: 'lines', records, seconds: NUMBER });
    expect(await json(['topic', 'produce', 'lines', 'two pizzas', '--record-key', 'ada'])).toEqual(sent(1));
    const file = inFile('lines.txt', 'first\nsecond\r\n\nlast, without an end');
    const compression = ['--compression', 'zstd'];
    expect(await json(['topic', 'produce', 'lines', '--file', file, ...compression])).toEqual(sent(4));
    expect(await text(['topic', 'produce', 'lines'], 'läuft\n')).toMatch(/^produced 1 record to lines in \d/);
    const leader = ['--file', '-', '--acks', 'leader', '--compression', 'gzip'];
    expect(await text(['topic', 'produce', 'lines', ...leader], 'x\ny\n')).toMatch(
      /^produced 2 records to lines/,
    );
    const all = ['two pizzas', 'first', 'second', '', 'last, without an end', 'läuft', 'x', 'y'];
    expect(await text(['topic', 'consume', 'lines'])).toBe(all.map((value) => `${value}\n`).join(''));
    const messages = await rows(['topic', 'consume', 'lines']);
    expect(messages).toEqual(
      all.map((value, offset) => ({
        topic: 'lines',
        partition: 0,
        offset,
        time: TIME,
        key: offset === 0 ? 'ada' : null,
        value,
        headers: {},
      })),
    );
  });

  it('lines of JSON, also those that consume printed; bytes that are no text stay what they are', async () => {
    await json(['topic', 'create', 'json', '--partitions', '2']);
    const lines = [
      { key: 'k', value: { a: 1 }, headers: { by: 'hand' }, time_ms: 1_700_000_000_000, partition: 1 },
      { key: null, value: null, headers: null, partition: 1 },
      { key_base64: '/wA=', value_base64: '/gE=', partition: 1 },
    ];
    const input = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    expect(await json(['topic', 'produce', 'json', '--lines', 'json'], input)).toMatchObject({ records: 3 });
    const at = (offset: number) => ({ topic: 'json', partition: 1, offset, time: TIME });
    const expected = [
      { ...at(0), time: '2023-11-14T22:13:20Z', key: 'k', value: '{"a":1}', headers: { by: 'hand' } },
      { ...at(1), key: null, value: null, headers: {} },
      { ...at(2), key_base64: '/wA=', value_base64: '/gE=', headers: {} },
    ];
    const printed = await text(['topic', 'consume', 'json', '--json']);
    const parse = (rowsText: string) =>
      rowsText
        .trimEnd()
        .split('\n')
        .map((row) => JSON.parse(row) as unknown);
    expect(parse(printed)).toEqual(expected);
    await json(['topic', 'create', 'copy', '--partitions', '2']);
    await json(['topic', 'produce', 'copy', '--lines', 'json'], printed);
    expect(parse(await text(['topic', 'consume', 'copy', '--json']))).toEqual(
      expected.map((row) => ({ ...row, topic: 'copy', time: TIME })),
    );
    const format = ['--format', '%t/%p@%o [%k] %T %h%n%% %x', '--limit', '1'];
    expect(await text(['topic', 'consume', 'json', ...format])).toBe(
      'json/1@0 [k] 2023-11-14T22:13:20Z {"by":"hand"}\n% %x\n',
    );
  });

  it.each([
    ['is not JSON', '{"key":'],
    ['is not a JSON object', '[1]'],
    ['has key of 5, allowed is text', '{"key":5}'],
    ['has key_base64 of "?", allowed is base64', '{"key_base64":"?"}'],
    ['has headers of 5, allowed is an object of texts', '{"headers":5}'],
    ['has headers of {"a":1}, allowed is an object of texts', '{"headers":{"a":1}}'],
    ['has partition of "0", allowed is a whole number', '{"partition":"0"}'],
    ['has time_ms of -1, allowed is whole ms since 1970', '{"time_ms":-1}'],
  ])('refuses a line that %s', async (why, line) => {
    const topic = `bad-${Buffer.from(why).toString('hex').slice(-24)}-${line.length}`;
    await json(['topic', 'create', topic]);
    const produce = ['topic', 'produce', topic, '--lines', 'json'];
    expect(await refusal(produce, `{"value":"before"}\n${line}\n{"value":"after"}\n`)).toMatchObject({
      code: 2,
      reason: 'USAGE',
      message: `line 2 ${why}. The lines before it were sent.`,
    });
    expect(await text(['topic', 'consume', topic])).toBe('before\n');
  });

  it('refuses what cannot be produced', async () => {
    await json(['topic', 'create', 'narrow', '--max-batch-bytes', '1KiB']);
    const produce = (...args: string[]) => refusal(['topic', 'produce', ...args], 'x\n');
    const usage = (message: RegExp) => ({
      code: 2,
      reason: 'USAGE',
      message: expect.stringMatching(message) as string,
    });
    expect(await produce('nope', 'x')).toMatchObject({
      code: 1,
      reason: 'TOPIC_UNKNOWN',
      outcome: 'NOT_APPLIED',
    });
    expect(await produce('nope')).toMatchObject({ code: 1, reason: 'TOPIC_UNKNOWN', outcome: 'NOT_APPLIED' });
    expect(await produce('narrow', 'x', '--partition', '1')).toMatchObject({
      code: 1,
      reason: 'PARTITION_UNKNOWN',
      outcome: 'NOT_APPLIED',
    });
    expect(await produce('narrow', 'x'.repeat(1_100))).toMatchObject({ code: 1, reason: 'RECORD_TOO_LARGE' });
    expect(await produce('narrow', 'x', '--file', 'f')).toMatchObject(usage(/a value or --file, not both/));
    expect(await produce('narrow', '--file', join(directory, 'none'))).toMatchObject(
      usage(/cannot be read: ENOENT/),
    );
    expect(await produce('narrow', '--file', directory)).toMatchObject(
      usage(/cannot be read: it is a directory/),
    );
    expect(await produce('narrow', 'x', '--acks', 'all')).toMatchObject(
      usage(/choices are majority, leader/),
    );
    expect(await produce('narrow', '--compression', 'lz4')).toMatchObject(
      usage(/choices are none, gzip, zstd/),
    );
    expect(await produce('narrow', '--lines', 'xml')).toMatchObject(usage(/choices are text, json/));
    expect(await text(['topic', 'consume', 'narrow'])).toBe('');
  });

  it('from the first, the last, or a time', async () => {
    await json(['topic', 'create', 'times']);
    const when = ['2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z', '2026-03-01T00:00:00Z'];
    // Each in a batch of its own: times are looked for among batches.
    for (const time of when)
      await json(
        ['topic', 'produce', 'times', '--lines', 'json'],
        JSON.stringify({ value: time, time_ms: Date.parse(time) }),
      );
    const from = async (where: string) =>
      valuesOf(await rows(['topic', 'consume', 'times', '--from', where]));
    expect(await from('earliest')).toEqual(when);
    expect(await from('latest')).toEqual([]);
    expect(await from('2026-01-31T23:59:00Z')).toEqual(when.slice(1));
    expect(await from('2026-02-01T01:00:00+01:00')).toEqual(when.slice(1));
    expect(await from('2099-01-01')).toEqual([]);
    expect(await refusal(['topic', 'consume', 'times', '--from', 'sometime'])).toMatchObject({
      code: 2,
      reason: 'USAGE',
      message: expect.stringContaining('Allowed are earliest, latest, and a time') as string,
    });
  });

  it('follows until somebody ends it, or enough came', async () => {
    await json(['topic', 'create', 'news']);
    await using follower = new RunningHoldfast(node.grpc, 'topic', 'consume', 'news', '--follow');
    await text(['topic', 'produce', 'news', 'one']);
    await follower.said('one');
    await text(['topic', 'produce', 'news'], 'two\nthree\n');
    await follower.said('three');
    expect(await follower.end('SIGINT')).toBe(0);
    expect([follower.lines, follower.errors]).toEqual([['one', 'two', 'three'], []]);
    const late = ['topic', 'consume', 'news', '--follow', '--from', 'latest', '--limit', '1', '--json'];
    await using limited = new RunningHoldfast(node.grpc, ...late);
    // Nobody outside sees when it has begun: it is sent something until it ends.
    let ended = false;
    void limited.ended.then(() => (ended = true));
    while (!ended) await client.producer({ topic: 'news' }).send({ value: 'four' });
    expect(await limited.ended).toBe(0);
    expect(limited.lines.map((row) => JSON.parse(row) as unknown)).toMatchObject([{ value: 'four' }]);
  });

  it('ends at once when it is told to, or when no node answers', async () => {
    await json(['topic', 'create', 'quiet']);
    const child = spawn(process.execPath, [HOLDFAST, 'topic', 'produce', 'quiet'], {
      env: { ...process.env, HOLDFAST_ENDPOINTS: node.grpc },
    });
    const ended = new Promise((resolve) => child.on('close', resolve));
    child.stdin.write('x\n');
    const isSent = async () => (await client.topics.offsets('quiet')).some(({ end }) => end > 0n);
    await until(isSent, 30_000, () => 'nothing is sent');
    // Its standard input stays open.
    child.kill('SIGINT');
    expect(await within(ended, 30_000, () => 'it does not end')).toBe(130);
    const file = inFile('unsent.txt', 'x\n');
    for (const args of [
      ['produce', 'quiet', 'x'],
      ['produce', 'quiet', '--file', file],
      ['consume', 'quiet'],
      ['consume', 'quiet', '--group', 'nobody'],
      ['consume', 'quiet', '--follow'],
      ['consume', 'quiet', '--follow', '--group', 'nobody'],
    ]) {
      const begunMs = performance.now();
      const told = await refusal(['topic', ...args, '--endpoints', NOWHERE]);
      expect(told).toMatchObject({ code: 3, reason: 'UNAVAILABLE' });
      expect(performance.now() - begunMs).toBeLessThan(AT_ONCE_MS);
    }
    expect(await refusal(['topic', 'consume', 'nope'])).toMatchObject({ code: 1, reason: 'TOPIC_UNKNOWN' });
    const follow = ['topic', 'consume', 'nope', '--follow'];
    expect(await refusal(follow)).toMatchObject({ code: 1, reason: 'TOPIC_UNKNOWN' });
  });
});

describe('holdfast group', () => {
  it('goes on where it was, is described, reset and deleted', async () => {
    await json(['topic', 'create', 'bills', '--partitions', '2']);
    for (const partition of ['0', '1'])
      await text(['topic', 'produce', 'bills', '--partition', partition], 'a\nb\nc\n');
    const read = async (...args: string[]) => {
      const found = await rows(['topic', 'consume', 'bills', '--group', 'billing', ...args]);
      return found.map(({ partition, offset }) => `${String(partition)}/${String(offset)}`);
    };
    const all = ['0/0', '0/1', '0/2', '1/0', '1/1', '1/2'];
    const first = await read('--limit', '4');
    expect(first.length).toBe(4);
    expect([...first, ...(await read())].sort()).toEqual(all);
    expect(await read()).toEqual([]);
    const { groups } = await json(['group', 'list']);
    expect(groups).toEqual([{ group: 'billing', members: 0, generation: NUMBER }]);
    expect(await text(['group', 'list'])).toMatch(/^GROUP {4}MEMBERS {2}GENERATION\nbilling {2}0 .*\n$/);
    const at = (partition: number, offset: number) => ({
      topic: 'bills',
      partition,
      member_id: null,
      offset,
      log_end: 3,
      lag: 3 - offset,
    });
    const about = { group: 'billing', generation: NUMBER, strategy: 'cooperative-sticky', members: [] };
    expect(await json(['group', 'describe', 'billing'])).toEqual({
      ...about,
      lag: 0,
      partitions: [at(0, 3), at(1, 3)],
    });
    const reset = ['group', 'reset', 'billing', 'bills'];
    const dry = await json([...reset, '--to', 'earliest', '--dry-run']);
    const both = [0, 1].map((partition) => ({ partition, before: 3, after: 0 }));
    expect(dry).toEqual({ group: 'billing', topic: 'bills', dry_run: true, partitions: both });
    expect(await read()).toEqual([]);
    expect(await json([...reset, '--to-offset', '2', '--partition', '1'])).toMatchObject({
      dry_run: false,
      partitions: [{ partition: 1, before: 3, after: 2 }],
    });
    expect(await text(['group', 'describe', 'billing'])).toMatch(
      /^billing: generation \d+, cooperative-sticky, lag 1\n\nMEMBER .*\n\nTOPIC .*\nbills {2}0 .*\nbills {2}1 .*\n$/,
    );
    expect(await read()).toEqual(['1/2']);
    expect(await json([...reset, '--to-time', '2020-01-01', '--partition', '0', '1'])).toMatchObject({
      partitions: both,
    });
    expect((await read()).sort()).toEqual(all);
    const behind = ['--partition', '0', '--partition', '1', '--to-offset', '1000'];
    expect(await text([...reset, ...behind])).toBe(
      'PARTITION  BEFORE  AFTER\n0          3       3\n1          3       3\n',
    );
    expect(await json(['group', 'delete', 'billing'])).toEqual({ group: 'billing', deleted: true });
    expect(await refusal(['group', 'describe', 'billing'])).toMatchObject({
      code: 1,
      reason: 'GROUP_UNKNOWN',
    });
  });

  it('shows its members, and is neither reset nor deleted while it has any', async () => {
    await json(['topic', 'create', 'mail']);
    await text(['topic', 'produce', 'mail', 'hello']);
    const consume = ['topic', 'consume', 'mail', '--follow', '--group', 'readers', '--instance', 'i1'];
    await using member = new RunningHoldfast(node.grpc, ...consume);
    await member.said('hello');
    const { members } = await json(['group', 'describe', 'readers']);
    expect(members).toEqual([
      {
        member_id: expect.any(String) as string,
        instance_id: 'i1',
        client_name: expect.any(String) as string,
        lease: expect.stringMatching(/^\d+$/) as string,
        topics: ['mail'],
        partitions: [{ topic: 'mail', partition: 0, generation: NUMBER }],
      },
    ]);
    const notEmpty = { code: 1, reason: 'GROUP_NOT_EMPTY', outcome: 'NOT_APPLIED' };
    expect(await refusal(['group', 'reset', 'readers', 'mail', '--to', 'earliest'])).toMatchObject(notEmpty);
    expect(await refusal(['group', 'delete', 'readers'])).toMatchObject(notEmpty);
    expect(await member.end()).toBe(0);
  });

  it('refuses what makes no sense', async () => {
    await json(['topic', 'create', 'plain']);
    const reset = (...args: string[]) => refusal(['group', 'reset', 'g', ...args]);
    const usage = (message: RegExp) => ({
      code: 2,
      reason: 'USAGE',
      message: expect.stringMatching(message) as string,
    });
    expect(await refusal(['group', 'describe', 'nope'])).toMatchObject({ code: 1, reason: 'GROUP_UNKNOWN' });
    expect(await refusal(['group', 'delete', 'nope'])).toMatchObject({ code: 1, reason: 'GROUP_UNKNOWN' });
    expect(await reset('nope', '--to', 'earliest')).toMatchObject({ code: 1, reason: 'TOPIC_UNKNOWN' });
    expect(await reset('plain', '--to', 'earliest', '--partition', '7')).toMatchObject({
      code: 1,
      reason: 'PARTITION_UNKNOWN',
    });
    expect(await reset('plain')).toMatchObject(usage(/give one of --to, --to-time and --to-offset/));
    expect(await reset('plain', '--to', 'earliest', '--to-offset', '1')).toMatchObject(usage(/give one of/));
    expect(await reset('plain', '--to', 'middle')).toMatchObject(usage(/choices are earliest, latest/));
    expect(await reset('plain', '--to-time', 'x')).toMatchObject(usage(/a time with its zone/));
    expect(await reset('plain', '--to-offset', '-1')).toMatchObject(usage(/whole numbers/));
    const consume = (...args: string[]) => refusal(['topic', 'consume', 'plain', ...args]);
    expect(await consume('--group', 'Bad Group')).toMatchObject({ code: 1, reason: 'INVALID_FIELD' });
    expect(await consume('--instance', 'i')).toMatchObject(usage(/--instance needs --group/));
    expect(await consume('--limit', '0')).toMatchObject(usage(/whole numbers from 1/));
  });
});
