/**
 * A disk that fills up: writes that grow data are refused in time, reads and deletes go
 * on, nothing acknowledged is lost, and writes come back by themselves when there is
 * space, whether somebody else makes it or deletes do.
 */
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { connect, HoldfastError, type Keyspace } from '@holdfast/client';
import { NodeState } from '@holdfast/proto/cluster/v1/cluster';
import { RealNode, until, within } from './real-node.ts';
import { CANNOT_MOUNT, SmallMount } from './small-mount.ts';

const MiB = 1_048_576;
/** What LevelDB needs for a while when it compacts; with less the disk fills up all the same. */
const FLOOR_MIB = 192;
const VALUE_BYTES = 64 * 1_024;
const WRITERS = 8;
/** Space is looked at twice a second. */
const BACK_MS = 30_000;
/** A disk is low for good when writes are refused at so many looks in a row. */
const STEADY_LOOKS = 5;
const LOOK_MS = 600;
/** Deleted rows give their space back when LevelDB next compacts them. */
const SPACE_MS = 60_000;
const STORAGE = ['segment_bytes: 1MiB', `min_free_bytes: ${FLOOR_MIB}MiB`];

/** Writes until the node refuses for good, as it should on a disk that is low; what it acknowledged. */
async function fill(kv: Keyspace, prefix = 'fill'): Promise<Map<string, Buffer>> {
  const refusals: HoldfastError[] = [];
  const acknowledged = new Map<string, Buffer>();
  for (let round = 0; round === 0 || !(await staysRefused(kv)); round++)
    for (const [key, value] of await writeUntilRefused(kv, refusals, `${prefix}/${round}`))
      acknowledged.set(key, value);
  for (const error of refusals) {
    expect(error).toMatchObject({ reason: 'DISK_LOW', code: 'RESOURCE_EXHAUSTED', outcome: 'NOT_APPLIED' });
    expect([error.limit, Number(error.actual) < FLOOR_MIB * MiB]).toEqual([String(FLOOR_MIB * MiB), true]);
    expect(error.message).toMatch(
      /Nothing was written; reads and deletes go on\. Free space, or delete data/,
    );
  }
  return acknowledged;
}

/** Log and store take space for a moment and give it back: what is refused then is taken again. */
async function staysRefused(kv: Keyspace): Promise<boolean> {
  for (let look = 0; look < STEADY_LOOKS; look++) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (!(await isRefused(kv.put('probe', 'x')))) return false;
  }
  return true;
}

async function writeUntilRefused(
  kv: Keyspace,
  refusals: HoldfastError[] = [],
  prefix = 'fill',
): Promise<Map<string, Buffer>> {
  const acknowledged = new Map<string, Buffer>();
  const before = refusals.length;
  let serial = 0;
  const write = async () => {
    while (refusals.length === before) {
      const key = `${prefix}/${serial++}`;
      // Not compressible, as LevelDB compresses.
      const value = Buffer.from(crypto.getRandomValues(new Uint8Array(VALUE_BYTES)));
      try {
        await kv.put(key, value);
        acknowledged.set(key, value);
      } catch (error) {
        refusals.push(error as HoldfastError);
      }
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, write));
  return acknowledged;
}

async function expectAllThere(kv: Keyspace, acknowledged: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const [key, value] of acknowledged) {
    const entry = await kv.get(key);
    expect(entry !== undefined && value.equals(entry.bytes), `${key} was acknowledged`).toBe(true);
  }
}

async function isRefused(write: Promise<unknown>): Promise<boolean> {
  const error = await write.catch((reason: unknown) => reason);
  if (!(error instanceof HoldfastError)) return false;
  expect([error.reason, error.outcome]).toEqual(['DISK_LOW', 'NOT_APPLIED']);
  return true;
}

function freeBytes(mount: SmallMount): number {
  const { bavail, bsize } = statfsSync(mount.path);
  return bavail * bsize;
}

function freeMiB(mount: SmallMount): string {
  return `${(freeBytes(mount) / MiB).toFixed(1)} MiB free`;
}

it('refuses writes on a full disk, and takes them again when others free space', async (context) => {
  if (CANNOT_MOUNT !== undefined) context.skip(CANNOT_MOUNT);
  using mount = new SmallMount('384m');
  const ballast = join(mount.path, 'ballast');
  writeFileSync(ballast, Buffer.alloc(96 * MiB));
  await using node = await RealNode.start({ under: mount.path, storage: STORAGE });
  await using client = await connect({ endpoints: node.grpc, timeout: '20s' });
  const kv = client.keyspace('default');
  await kv.put('counter', '1');
  const acknowledged = await fill(kv);
  const lowest = freeMiB(mount);

  expect((await client.status()).nodes[0]!.state).toBe(NodeState.DISK_LOW);
  expect(await (await fetch(`${node.url}/metrics`)).text()).toMatch(/^holdfast_disk_low 1$/m);
  const put = await fetch(`${node.url}/v1/kv/default/x`, { method: 'PUT', body: 'x' });
  expect([put.status, put.headers.has('retry-after')]).toEqual([507, true]);
  const writes = [
    () => kv.create('new', 'x'),
    () => kv.increment('counter'),
    () => kv.put('counter', 'x', { ifVersion: 1n }),
    () => kv.transact({ then: [{ put: 'counter', value: 'x' }] }),
  ];
  for (const write of writes) expect(await isRefused(write())).toBe(true);

  await expectAllThere(kv, acknowledged);
  const [deleted] = acknowledged.keys();
  expect(await kv.delete(deleted!)).toEqual({ existed: true });
  acknowledged.delete(deleted!);
  expect(await kv.get(deleted!)).toBeUndefined();

  // Stopped and started on the full disk it serves what it has.
  expect((await node.stop()).code).toBe(0);
  await node.start();
  await expectAllThere(kv, acknowledged);
  // Opening the store may have given some space back: then it is filled up again.
  for (const [key, value] of await fill(kv, 'again')) acknowledged.set(key, value);

  rmSync(ballast);
  const freedMs = performance.now();
  await until(
    async () => !(await isRefused(kv.put('back', 'x'))),
    BACK_MS,
    () => `${freeMiB(mount)}: ${node.output}`,
  );
  const backMs = performance.now() - freedMs;
  expect((await client.status()).nodes[0]!.state).toBe(NodeState.RUNNING);
  await expectAllThere(kv, acknowledged);
  console.log(
    `disk full after ${acknowledged.size} writes of 64 KiB, ${lowest}; writes back ${backMs.toFixed(0)} ms after space was`,
  );
}, 120_000);

it('takes writes again when deletes have made space', async (context) => {
  if (CANNOT_MOUNT !== undefined) context.skip(CANNOT_MOUNT);
  using mount = new SmallMount('288m');
  await using node = await RealNode.start({ under: mount.path, storage: STORAGE });
  await using client = await connect({ endpoints: node.grpc, timeout: '20s' });
  const kv = client.keyspace('default');
  const acknowledged = await fill(kv);
  const lowest = freeMiB(mount);
  const results = await kv.write([...acknowledged.keys()].map((key) => ({ delete: key })));
  expect(results.every(({ ok }) => ok)).toBe(true);
  const deletedMs = performance.now();
  const spaceBytes = (FLOOR_MIB + 32) * MiB;
  await until(
    () => freeBytes(mount) > spaceBytes,
    SPACE_MS,
    () => `${freeMiB(mount)}: ${node.output}`,
  );
  const spaceMs = performance.now() - deletedMs;
  await until(
    async () => !(await isRefused(kv.put('back', 'x'))),
    BACK_MS,
    () => `${freeMiB(mount)}: ${node.output}`,
  );
  const again = await fill(kv);
  await expectAllThere(kv, again);
  console.log(
    `${acknowledged.size} keys deleted at ${lowest}; 32 MiB above the floor after ${spaceMs.toFixed(0)} ms; ` +
      `then ${again.size} writes of 64 KiB until it was full again`,
  );
  expect(again.size).toBeGreaterThan(200);
}, 180_000);

it('ends in order when the disk is full in spite of all, and keeps what it acknowledged', async (context) => {
  if (CANNOT_MOUNT !== undefined) context.skip(CANNOT_MOUNT);
  using mount = new SmallMount('64m');
  const ballast = join(mount.path, 'ballast');
  await using node = await RealNode.prepare({
    under: mount.path,
    storage: ['segment_bytes: 1MiB', 'min_free_bytes: 0'],
  });
  await node.start();
  writeFileSync(ballast, Buffer.alloc(32 * MiB));
  await using client = await connect({ endpoints: node.grpc, timeout: '20s' });
  const kv = client.keyspace('default');
  const acknowledged = await writeUntilRefused(kv);
  expect((await within(node.ended, 30_000, () => node.output)).code).toBe(1);
  expect(node.output).toMatch(
    /^n1: .* cannot be written: .*No space left.*Everything acknowledged is kept\. Free some space and start/im,
  );
  rmSync(ballast);
  await node.start();
  await expectAllThere(kv, acknowledged);
  console.log(`the disk was filled to the end: ${acknowledged.size} acknowledged writes of 64 KiB are there`);
}, 120_000);

it('a node whose directory was removed ends instead of going on in files that are gone', async () => {
  await using node = await RealNode.start();
  rmSync(node.dataDirectory, { recursive: true });
  const { code } = await within(node.ended, 30_000, () => 'the node goes on');
  expect(code).toBe(1);
  expect(node.output).toMatch(/storage failed/);
});
