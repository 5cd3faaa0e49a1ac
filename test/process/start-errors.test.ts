/**
 * Why a node does not start: one clear sentence or two on stderr, exit code 1 (2 for a
 * configuration that makes no sense), and nothing held afterwards: once the cause is gone
 * the same command starts the node.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Server } from 'node:net';
import { afterAll, describe, expect, it } from 'vitest';
import { connect } from '@holdfast/client';
import { HOST, listening, RealNode, within } from './real-node.ts';
import { CANNOT_MOUNT, SmallMount } from './small-mount.ts';

let refused = 0;
afterAll(() => console.log(`${refused} starts refused in plain words`));

/** Starts a node that must not start; what it says. */
async function expectRefused(node: RealNode, code: number): Promise<string> {
  const from = node.output.length;
  const end = await within(node.spawn(), 30_000, () => `it does not end: ${node.output}`);
  const said = node.output.slice(from);
  expect([end.code, end.signal], said).toEqual([code, null]);
  const words = said.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
  expect(words.length, said).toBeLessThanOrEqual(code === 2 ? 6 : 1);
  expect(words.join('\n')).not.toMatch(/^\s+at |node:internal|Error:|undefined|\[object/m);
  refused++;
  return words.join('\n');
}

/** The cause is gone: the same command starts the node, which takes a write. */
async function expectStarts(node: RealNode): Promise<void> {
  await node.start();
  const client = await connect({ endpoints: node.grpc });
  await client.keyspace('default').put('key', 'value');
  await client.close();
  expect((await node.stop()).code).toBe(0);
}

async function closed(server: Server): Promise<void> {
  await new Promise((resolve) => server.close(resolve));
}

describe('cluster.yaml', () => {
  it.each([
    ['an address without a port', /grpc: .*/, 'grpc: 127.0.0.1', 4, '127.0.0.1'],
    ['a size below the least', /segment_bytes: .*/, 'segment_bytes: 1KiB', 7, '1 MiB to 1 GiB'],
    ['a key that there is not', /min_free_bytes/, 'min_free_byte', 8, 'min_free_byte'],
    ['text that is no YAML', /nodes:/, 'nodes: [', 2, ''],
  ])('%s', async (_, what, instead, line, shown) => {
    await using node = await RealNode.prepare();
    const file = join(node.directory, 'cluster.yaml');
    const right = readFileSync(file, 'utf8');
    writeFileSync(file, right.replace(what, instead));
    const said = await expectRefused(node, 2);
    expect(said).toMatch(new RegExp(`cluster\\.yaml:${line === 2 ? '\\d+' : line}`));
    expect(said).toContain(shown);
    expect(readdirSync(node.directory)).toEqual(['cluster.yaml']);
  });

  it('a file that is not there', async () => {
    await using node = await RealNode.prepare();
    const file = join(node.directory, 'cluster.yaml');
    const right = readFileSync(file, 'utf8');
    writeFileSync(join(node.directory, 'moved.yaml'), right);
    rmSync(file);
    expect(await expectRefused(node, 2)).toContain(file);
  });
});

describe('ports', () => {
  it.each(['grpc', 'http'] as const)('the %s port is in use', async (port) => {
    await using node = await RealNode.prepare();
    const other = await listening(Number(node[port].split(':')[1]));
    const said = await expectRefused(node, 1);
    expect(said).toContain('port in use');
    expect(said).toContain(`${port} (${node[port]})`);
    // What the failed start had taken is free: both ports, and the directory below.
    await closed(other);
    for (const address of [node.grpc, node.http])
      await closed(await listening(Number(address.split(':')[1])));
    await expectStarts(node);
  });

  it('an address that this machine does not have', async () => {
    await using node = await RealNode.prepare();
    const file = join(node.directory, 'cluster.yaml');
    // TEST-NET-1: nobody has it.
    writeFileSync(file, readFileSync(file, 'utf8').replace(`grpc: ${HOST}`, 'grpc: 192.0.2.1'));
    expect(await expectRefused(node, 1)).toMatch(/cannot listen: .*192\.0\.2\.1/);
  });
});

describe('directories', () => {
  it('one that another node process has', async () => {
    await using first = await RealNode.start();
    await using second = await RealNode.prepare({ under: join(first.dataDirectory, '..') });
    expect(await expectRefused(second, 1)).toMatch(/is in use by another process/);
    const client = await connect({ endpoints: first.grpc });
    await client.keyspace('default').put('key', 'value');
    await client.close();
    expect((await first.stop()).code).toBe(0);
    await expectStarts(second);
  });

  it('one below a file', async () => {
    await using node = await RealNode.prepare();
    writeFileSync(join(node.directory, 'data'), 'a file');
    expect(await expectRefused(node, 1)).toMatch(/cannot write to .*data\/n1/);
  });

  it('one on a read-only disk', async (context) => {
    if (CANNOT_MOUNT !== undefined) context.skip(CANNOT_MOUNT);
    using mount = new SmallMount('64m');
    await using node = await RealNode.prepare({ under: mount.path });
    mount.setReadOnly(true);
    expect(await expectRefused(node, 1)).toMatch(/cannot write to /);
    mount.setReadOnly(false);
    await expectStarts(node);
    // One that holds data already is not opened for reading alone either.
    mount.setReadOnly(true);
    expect(await expectRefused(node, 1)).toMatch(/cannot write to /);
    mount.setReadOnly(false);
    await expectStarts(node);
  });

  it('one without room for the log', async (context) => {
    if (CANNOT_MOUNT !== undefined) context.skip(CANNOT_MOUNT);
    using mount = new SmallMount('1m');
    await using node = await RealNode.prepare({ under: mount.path });
    expect(await expectRefused(node, 1)).toMatch(/no space left/);
  });

  it('one of another node', async () => {
    await using node = await RealNode.prepare();
    await expectStarts(node);
    const identity = join(node.dataDirectory, 'identity.json');
    const right = readFileSync(identity);
    await using other = await RealNode.prepare({ under: join(node.directory, 'data'), name: 'n2' });
    mkdirSync(other.dataDirectory, { recursive: true });
    writeFileSync(join(other.dataDirectory, 'identity.json'), right);
    expect(await expectRefused(other, 1)).toMatch(/belongs to node "n1", this is "n2"/);
  });
});

describe('data', () => {
  async function withData(): Promise<RealNode> {
    const node = await RealNode.prepare();
    await expectStarts(node);
    return node;
  }

  it('a damaged identity', async () => {
    await using node = await withData();
    const file = join(node.dataDirectory, 'identity.json');
    const right = readFileSync(file);
    const changes = [Buffer.from(right.toString().replace('"n1"', '"n9"')), right.subarray(0, 20)];
    for (const wrong of changes) {
      writeFileSync(file, wrong);
      expect(await expectRefused(node, 1)).toMatch(/identity\.json is damaged.*Restore/);
      expect(readFileSync(file)).toEqual(wrong);
    }
    writeFileSync(file, right);
    await expectStarts(node);
  });

  it('a flipped bit in a segment of the log', async () => {
    await using node = await withData();
    const directory = join(node.dataDirectory, 'log');
    const file = join(
      directory,
      readdirSync(directory).find((name) => name.endsWith('.seg'))!,
    );
    const right = readFileSync(file);
    const wrong = Buffer.from(right);
    wrong[60]! ^= 4; // in the table of the first batch
    writeFileSync(file, wrong);
    const said = await expectRefused(node, 1);
    expect(said).toMatch(/the data is damaged: .*\.seg at 0.*Nothing was changed.*Restore/);
    expect(readFileSync(file).equals(wrong)).toBe(true);
    writeFileSync(file, right);
    await expectStarts(node);
  });

  it('a store that is gone', async () => {
    await using node = await withData();
    rmSync(join(node.dataDirectory, 'store'), { recursive: true });
    expect(await expectRefused(node, 1)).toMatch(/the data is damaged: .*store/);
  });
});
