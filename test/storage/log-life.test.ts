/** The log over a long life: segments come and go, and nothing pins them for ever. */
import { expect, test } from 'vitest';
import { create } from '@bufbuild/protobuf';
import { CreateKeyspaceRequestSchema, DropKeyspaceRequestSchema } from '@holdfast/proto/kv/v1/keyspace';
import { KvRig, bytes } from '../kv/kv-rig.ts';

async function writeMuch(rig: KvRig, keyspace: string, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    await rig.put({ keyspace, key: bytes(`k${i % 50}`), value: bytes('x'.repeat(20_000)) });
    if (i % 20 === 0) await rig.node.world.runFor(1_100);
  }
}

const makeKeyspace = (rig: KvRig, name: string) =>
  rig.run(
    rig.keyspaces.createKeyspace(rig.context(), create(CreateKeyspaceRequestSchema, { name, partitions: 1 })),
  );
const dropKeyspace = (rig: KvRig, name: string) =>
  rig.run(rig.keyspaces.dropKeyspace(rig.context(), create(DropKeyspaceRequestSchema, { name })));

test('what is in the store is removed from the log, and a quiet group pins nothing', async () => {
  const rig = await KvRig.start('life');
  await makeKeyspace(rig, 'quiet');
  await rig.put({ keyspace: 'quiet', key: bytes('a'), value: bytes('kept') });
  await writeMuch(rig, 'default', 200);
  await rig.node.world.runFor(2_000);
  expect(rig.engine.log.segmentCount).toBeLessThanOrEqual(2);
  rig.node.crash('lose-all');
  await rig.restart();
  expect((await rig.get({ keyspace: 'quiet', key: bytes('a') })).entry).toBeDefined();
});

test('a dropped keyspace pins nothing, nor after a restart before its end was stored', async () => {
  const rig = await KvRig.start('dropped');
  await makeKeyspace(rig, 'gone');
  for (let i = 0; i < 5; i++) await rig.put({ keyspace: 'gone', key: bytes(`k${i}`), value: bytes('v') });
  await dropKeyspace(rig, 'gone');
  rig.node.crash('lose-all');
  await rig.restart();
  await writeMuch(rig, 'default', 120);
  await makeKeyspace(rig, 'gone');
  await rig.put({ keyspace: 'gone', key: bytes('k'), value: bytes('v') });
  await dropKeyspace(rig, 'gone');
  await writeMuch(rig, 'default', 120);
  await rig.node.world.runFor(2_000);
  expect(rig.engine.log.segmentCount).toBeLessThanOrEqual(2);
});

test('terms go up with every start and are not lost when segments are removed', async () => {
  const rig = await KvRig.start('terms');
  let term = rig.engine.host.replica(1)!.term;
  for (let start = 0; start < 4; start++) {
    await writeMuch(rig, 'default', 60);
    rig.node.crash('seeded');
    await rig.restart();
    const next = rig.engine.host.replica(1)!.term;
    expect(next).toBeGreaterThan(term);
    term = next;
  }
});
