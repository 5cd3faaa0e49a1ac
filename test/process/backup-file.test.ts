/**
 * `holdfast backup` on real clusters: saved under load, read by a program that shares no code
 * with ours, restored into an empty cluster.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Holdfast } from '@holdfast/client';
import { afterAll, expect, it } from 'vitest';
import { runHoldfast } from '../main/run-holdfast.ts';
import { barePython, describeWith, pathOf } from '../polyglot/installed-tools.ts';
import { CheckedLoad } from './checked-load.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

const READER = fileURLToPath(new URL('../polyglot/backup_reader.py', import.meta.url));
const MAIN = fileURLToPath(new URL('../../node/main/main.ts', import.meta.url));
const KEPT = 3_000;

interface Told {
  keyspace: string;
  key?: string;
  value?: string;
  version?: number;
  expires_at_ms?: number | null;
  lock?: string;
  token?: number;
}

const directory = mkdtempSync(join(tmpdir(), 'holdfast-backup-'));
const file = join(directory, 'all.hfb');

/** Runs a command of the CLI on a cluster. */
async function run(cluster: RealCluster | undefined, ...args: string[]) {
  const env = cluster === undefined ? {} : { HOLDFAST_ENDPOINTS: cluster.endpoints.join(',') };
  const { code, stdout, stderr } = await runHoldfast([...args, '--json'], { env });
  const parse = (text: string) =>
    text.trim() === '' ? undefined : (JSON.parse(text) as Record<string, unknown>);
  return {
    code,
    out: parse(stdout.toString()),
    error: parse(stderr)?.['error'] as Record<string, string> | undefined,
  };
}

/** What the independent reader finds. */
function read(path: string): Told[] {
  const lines = execFileSync(pathOf(barePython), [READER, path], { maxBuffer: 2 ** 28 })
    .toString()
    .trim()
    .split('\n');
  return lines.map((line) => JSON.parse(line) as Told);
}

/** The entries of a keyspace in the form of the reader. */
async function content(client: Holdfast, keyspace: string, prefix = ''): Promise<string[]> {
  const entries: string[] = [];
  for await (const { keyBytes, bytes, version, expiresAtMs } of client.keyspace(keyspace).scan({ prefix }))
    entries.push(line(Buffer.from(keyBytes), Buffer.from(bytes), Number(version), expiresAtMs ?? null));
  return entries.sort();
}

function line(key: Buffer, value: Buffer, version: number, expiresAtMs: number | null): string {
  return [key.toString('base64'), value.toString('base64'), version, expiresAtMs].join(' ');
}

function entriesOf(told: readonly Told[], keyspace: string, prefix = ''): string[] {
  return told
    .filter((one) => one.keyspace === keyspace && one.key !== undefined)
    .filter((one) => Buffer.from(one.key!, 'base64').toString().startsWith(prefix))
    .map((one) =>
      line(
        Buffer.from(one.key!, 'base64'),
        Buffer.from(one.value!, 'base64'),
        one.version!,
        one.expires_at_ms!,
      ),
    )
    .sort();
}

afterAll(() => rmSync(directory, { recursive: true, force: true }));

describeWith([barePython], 'a cluster of three', () => {
  let told: Told[];

  it('is saved while checking clients write to it', { timeout: 180_000 }, async () => {
    await using cluster = await RealCluster.start();
    const client = await cluster.connect();
    await client.keyspaces.create('small', { partitions: 1, maxKeyBytes: 100 });
    // Each partition on one node alone: whichever node is asked, others have most of it.
    await client.keyspaces.create('spread', { partitions: 16, replication: 1 });
    const kv = client.keyspace('default');
    await Promise.all(
      Array.from({ length: KEPT }, (_, at) =>
        kv.put(`kept/${at}`, `value ${at}`.repeat(at % 50), at % 10 === 0 ? { ttl: '1h' } : {}),
      ),
    );
    await Promise.all(
      Array.from({ length: 200 }, (_, at) => client.keyspace('spread').put(`s${at}`, `${at}`)),
    );
    await kv.put('kept/photo', Buffer.alloc(1_000_000, 7));
    await kv.delete('kept/1');
    await client.keyspace('small').put('fenced', 'yes', { fence: { name: 'leader', token: 7n } });
    await using load = await CheckedLoad.begin(cluster, { seed: 6_004, keys: 'load/' });
    await load.progress(200);
    const before = await content(client, 'default', 'kept/');
    const saved = await run(cluster, 'backup', 'save', file);
    expect(saved).toMatchObject({
      code: 0,
      out: {
        file,
        keyspaces: [{ name: 'default' }, { name: 'small', entries: 1, fences: 1 }, { name: 'spread' }],
      },
    });
    await load.progress(100);
    await load.end();
    told = read(file);
    expect(entriesOf(told, 'default', 'kept/')).toEqual(before);
    expect(entriesOf(told, 'spread')).toEqual(await content(client, 'spread'));
    expect(entriesOf(told, 'spread')).toHaveLength(200);
    expect(before).toHaveLength(KEPT);
    expect(told.filter(({ lock }) => lock !== undefined)).toEqual([
      { keyspace: 'small', partition: 0, lock: 'leader', token: 7 },
    ]);
    expect((await run(cluster, 'backup', 'save', file)).error).toMatchObject({ reason: 'FILE_EXISTS' });
    expect(readdirSync(directory)).toEqual(['all.hfb']);
  });

  it('is restored into an empty one', { timeout: 180_000 }, async () => {
    await using cluster = await RealCluster.start({ name: 'another' });
    const client = await cluster.connect();
    const names = async () => (await client.keyspaces.list()).map(({ name }) => name);

    await client.keyspace('default').put('mine', 'here');
    const taken = await run(cluster, 'backup', 'restore', file);
    expect(taken).toMatchObject({ code: 1, error: { reason: 'KEYSPACE_EXISTS' } });
    expect(await names()).toEqual(['default']);
    expect(await content(client, 'default')).toHaveLength(1);
    await client.keyspaces.drop('default');

    for (const [name, bytes] of Object.entries(spoiled(readFileSync(file)))) {
      const path = join(directory, name);
      writeFileSync(path, bytes);
      expect(await run(cluster, 'backup', 'restore', path), name).toMatchObject({
        code: 1,
        error: { reason: expect.stringMatching(/^BACKUP_/) as string },
      });
      expect((await run(undefined, 'backup', 'verify', path)).code, name).toBe(1);
    }
    expect(await names()).toEqual([]);

    expect(await run(cluster, 'backup', 'restore', file)).toMatchObject({ code: 0 });
    expect(await names()).toEqual(['default', 'small', 'spread']);
    expect(await content(client, 'default')).toEqual(entriesOf(told, 'default'));
    expect(await content(client, 'small')).toEqual(entriesOf(told, 'small'));
    expect(await content(client, 'spread')).toEqual(entriesOf(told, 'spread'));
    expect(await client.keyspaces.describe('small')).toMatchObject({ maxKeyBytes: 100, restoring: false });

    const small = client.keyspace('small');
    const late = small.put('fenced', 'late', { fence: { name: 'leader', token: 6n } });
    await expect(late).rejects.toMatchObject({ reason: 'FENCED' });
    const greatest = Math.max(...told.map(({ version }) => version ?? 0));
    expect(Number((await small.put('new', 'write')).version)).toBeGreaterThan(greatest);
    const renamed = await run(cluster, 'backup', 'restore', file, '--keyspace', 'small', '--as', 'copy');
    expect(renamed).toMatchObject({ code: 0, out: { keyspaces: [{ name: 'copy', entries: 1 }] } });
    expect(await content(client, 'copy')).toEqual(entriesOf(told, 'small'));
  });
});

describeWith([barePython], 'a save', () => {
  it('goes on when the asked node dies, and leaves no file when all have', { timeout: 180_000 }, async () => {
    await using cluster = await RealCluster.start();
    const client = await cluster.connect();
    const kv = client.keyspace('default');
    for (let at = 0; at < 3_000; at += 500)
      await Promise.all(
        Array.from({ length: 500 }, (_, more) => kv.put(`big/${at + more}`, Buffer.alloc(10_000, at))),
      );
    const before = await content(client, 'default');
    const path = join(directory, 'dying.hfb');
    const saved = run(cluster, 'backup', 'save', path);
    await until(
      () => (statSync(`${path}.part`, { throwIfNoEntry: false })?.size ?? 0) > 1_000_000,
      60_000,
      () => 'the save does not begin',
    );
    await cluster.node('n1').kill();
    expect(await saved).toMatchObject({ code: 0, out: { entries: 3_000 } });
    expect(entriesOf(read(path), 'default')).toEqual(before);

    const none = join(directory, 'none.hfb');
    const failed = run(cluster, 'backup', 'save', none, '--timeout', '10s');
    await until(
      () => (statSync(`${none}.part`, { throwIfNoEntry: false })?.size ?? 0) > 1_000_000,
      60_000,
      () => 'the save does not begin',
    );
    await Promise.all(['n2', 'n3'].map((name) => cluster.node(name).kill()));
    expect((await failed).code).toBeGreaterThan(0);
    expect(readdirSync(directory).filter((name) => name.startsWith('none'))).toEqual([]);
  });
});

describeWith([barePython], 'a restore', () => {
  it('goes on when a node dies', { timeout: 180_000 }, async () => {
    await using cluster = await RealCluster.start();
    const client = await cluster.connect();
    const path = join(directory, 'dying.hfb');
    const restored = run(cluster, 'backup', 'restore', path, '--as', 'back');
    const shows = async () =>
      (await client.keyspaces.list()).some(({ name, restoring }) => name === 'back' && restoring);
    await until(shows, 60_000, () => 'the restore does not begin');
    await cluster.node('n1').kill();
    expect(await restored).toMatchObject({ code: 0, out: { keyspaces: [{ name: 'back', entries: 3_000 }] } });
    expect(await content(client, 'back')).toEqual(entriesOf(read(path), 'default'));
  });

  it.each(['SIGINT', 'SIGKILL'] as const)(
    'that ends by %s leaves nothing that could be used',
    async (signal) => {
      await using cluster = await RealCluster.start({ nodes: 1 });
      const client = await cluster.connect();
      const path = join(directory, 'dying.hfb');
      const listed = async () => (await client.keyspaces.list()).filter(({ name }) => name === 'back');
      const command = ['backup', 'restore', path, '--as', 'back', '--endpoints', cluster.endpoints[0]!];
      const child = spawn(process.execPath, ['--conditions=holdfast-source', MAIN, ...command], {
        stdio: 'ignore',
      });
      const ended = new Promise((resolve) => child.on('exit', resolve));
      await until(
        async () => (await listed()).length > 0,
        60_000,
        () => 'the restore does not begin',
      );
      child.kill(signal);
      await ended;
      if (signal === 'SIGKILL') {
        expect(await listed()).toMatchObject([{ restoring: true }]);
        const get = client.keyspace('back').get('big/0');
        await expect(get).rejects.toMatchObject({ reason: 'KEYSPACE_RESTORING' });
        expect((await run(cluster, ...command.slice(0, 5))).error).toMatchObject({
          reason: 'KEYSPACE_EXISTS',
        });
        await client.keyspaces.drop('back');
      }
      expect(await listed()).toEqual([]);
    },
    180_000,
  );
});

/** Files that are not whole, each in its way. */
function spoiled(bytes: Buffer): Record<string, Buffer> {
  const flipped = Buffer.from(bytes);
  flipped[bytes.length >> 1]! ^= 1;
  const newer = Buffer.from(bytes);
  newer.writeUInt32LE(2, 8);
  return {
    cut: bytes.subarray(0, bytes.length - 1),
    half: bytes.subarray(0, bytes.length >> 1),
    flipped,
    newer,
    longer: Buffer.concat([bytes, Buffer.from('x')]),
    foreign: Buffer.from('PK\x03\x04 something else'),
    empty: Buffer.alloc(0),
  };
}
