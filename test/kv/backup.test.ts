/** What a saved partition holds, and what a keyspace is while it is restored and afterwards. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  BackupService,
  BeginRestoreRequestSchema,
  BeginSaveRequestSchema,
  CompleteRestoreRequestSchema,
  RestoreRowsRequestSchema,
  SavePartitionRequestSchema,
  type SavePartitionResponse,
} from '@holdfast/proto/cluster/v1/backup';
import { CreateKeyspaceRequestSchema, DropKeyspaceRequestSchema } from '@holdfast/proto/kv/v1/keyspace';
import { beforeEach, describe, expect, test } from 'vitest';
import { backupService } from '../../node/services/backup-service.ts';
import type { Handlers } from '../../node/services/handler.ts';
import { KvRig, bytes, text } from './kv-rig.ts';

const ID = new Uint8Array(16).fill(9);
const VERSION = 50n;

let rig: KvRig;
beforeEach(async () => {
  rig = await KvRig.start('backup');
});

function service(): Handlers<typeof BackupService> {
  const { kv, keyspaces } = rig.engine;
  const { clock } = rig.node;
  return backupService({ kv, keyspaces, clock, clusterId: 'c', saves: undefined }).handlers as never;
}

const beginSave = (...keyspaces: string[]) =>
  rig.run(service().beginSave(rig.context(), create(BeginSaveRequestSchema, { keyspaces })));
const beginRestore = (init: MessageInitShape<typeof BeginRestoreRequestSchema> = {}) => {
  const request = { restoreId: ID, name: 'back', partitions: 1, lastVersion: VERSION, treeRevision: 1_000n };
  return rig.run(
    service().beginRestore(
      rig.context(),
      create(BeginRestoreRequestSchema, { ...request, ...init } as never),
    ),
  );
};
const restoreRows = (init: MessageInitShape<typeof RestoreRowsRequestSchema> = {}) => {
  const entries = [{ key: bytes('a'), value: bytes('old'), version: VERSION }];
  const request = { keyspace: 'back', restoreId: ID, partition: 0, entries, ...init };
  return rig.run(service().restoreRows(rig.context(), create(RestoreRowsRequestSchema, request as never)));
};
const complete = (restoreId = ID) =>
  rig.run(
    service().completeRestore(
      rig.context(),
      create(CompleteRestoreRequestSchema, { keyspace: 'back', restoreId }),
    ),
  );

/** All of a partition, and what it says of itself. */
async function savePartition(keyspace: string, partition = 0, clusterId = 'c') {
  const keyspaceId = rig.engine.keyspaces.get(keyspace).descriptor.id;
  const request = create(SavePartitionRequestSchema, { clusterId, keyspace, keyspaceId, partition });
  const collect = async () => {
    const parts: SavePartitionResponse[] = [];
    for await (const part of service().savePartition(rig.context(), request)) parts.push(part);
    return parts;
  };
  const parts = await rig.run(collect());
  return {
    entries: parts.flatMap(({ entries }) => entries),
    fences: parts.flatMap(({ fences }) => fences),
    end: parts.at(-1)!.end,
    ends: parts.filter(({ end }) => end !== undefined).length,
  };
}

function createSmall() {
  const request = create(CreateKeyspaceRequestSchema, { name: 'small', partitions: 1 });
  return rig.run(rig.keyspaces.createKeyspace(rig.context(), request));
}

describe('a saved partition', () => {
  test('has what was acknowledged before, with versions, ends and fences, and nothing that has expired', async () => {
    await createSmall();
    const keyspace = 'small';
    await rig.put({
      keyspace,
      key: bytes('b'),
      value: bytes('1'),
      options: { fence: { lock: 'l', token: 5n } },
    });
    await rig.put({ keyspace, key: bytes('gone'), value: bytes('x'), ttlMs: 10n });
    await rig.node.world.runFor(20);
    const { version } = await rig.put({ keyspace, key: bytes('a'), value: bytes('2'), ttlMs: 60_000n });
    await rig.put({ keyspace, key: bytes('c'), value: bytes('3') });
    await rig.delete({ keyspace, key: bytes('c') });
    const saved = await savePartition('small');
    expect(saved.entries.map(({ key, value }) => [text(key), text(value)])).toEqual([
      ['a', '2'],
      ['b', '1'],
    ]);
    const { entry } = await rig.get({ keyspace, key: bytes('a') });
    expect(saved.entries[0]).toMatchObject({ version, expiresAtMs: entry!.expiresAtMs });
    expect(saved.fences).toMatchObject([{ lock: 'l', token: 5n }]);
    expect(saved).toMatchObject({ ends: 1, end: { entries: 2n, fences: 1n } });
    expect(saved.end!.lastVersion).toBeGreaterThan(version);
  });

  test('is sent in parts, and is of one moment whatever is written meanwhile', async () => {
    await createSmall();
    const value = new Uint8Array(1_000);
    for (let at = 0; at < 1_200; at++)
      await rig.put({ keyspace: 'small', key: bytes(`k${String(at).padStart(4, '0')}`), value });
    const request = create(SavePartitionRequestSchema, {
      clusterId: 'c',
      keyspace: 'small',
      keyspaceId: rig.engine.keyspaces.get('small').descriptor.id,
    });
    const parts: number[] = [];
    const stream = service().savePartition(rig.context(), request)[Symbol.asyncIterator]();
    for (;;) {
      const { value: part, done } = await rig.run(stream.next());
      if (done === true) break;
      parts.push(part.entries.length);
      await rig.put({ keyspace: 'small', key: bytes('k9999'), value: bytes('later') });
    }
    expect(parts.length).toBeGreaterThan(2);
    expect(parts.reduce((sum, count) => sum + count)).toBe(1_200);
  });

  test('of another cluster, keyspace or partition is refused', async () => {
    await expect(savePartition('default', 0, 'other')).rejects.toMatchObject({ reason: 'PERMISSION_DENIED' });
    await expect(savePartition('default', 8)).rejects.toMatchObject({
      reason: 'INVALID_FIELD',
      field: 'partition',
    });
    await expect(beginSave('nothing')).rejects.toMatchObject({ reason: 'KEYSPACE_UNKNOWN' });
    expect((await beginSave()).keyspaces.map(({ name }) => name)).toEqual(['default']);
  });
});

describe('a keyspace that is being restored', () => {
  test('takes no reads, writes or saves until it is whole, over a restart too', async () => {
    await beginRestore();
    await restoreRows();
    const restoring = { reason: 'KEYSPACE_RESTORING' };
    const refused = async () => {
      await expect(rig.get({ keyspace: 'back', key: bytes('a') })).rejects.toMatchObject(restoring);
      const put = rig.put({ keyspace: 'back', key: bytes('a'), value: bytes('new') });
      await expect(put).rejects.toMatchObject({ ...restoring, outcome: 'NOT_APPLIED' });
      await expect(beginSave()).rejects.toMatchObject(restoring);
      await expect(beginSave('back')).rejects.toMatchObject(restoring);
    };
    await refused();
    rig.node.crash();
    await rig.restart();
    await refused();
    await complete();
    expect(text((await rig.get({ keyspace: 'back', key: bytes('a') })).entry?.value)).toBe('old');
  });

  test('keeps versions, ends and fences; gives out greater versions', async () => {
    const endsMs = BigInt(rig.node.clock.wallMs() + 5_000);
    await beginRestore();
    await restoreRows({
      entries: [
        { key: bytes('a'), value: bytes('old'), version: VERSION },
        { key: bytes('b'), value: bytes('soon'), version: 3n, expiresAtMs: endsMs },
      ],
      fences: [{ lock: 'l', token: 7n }],
    });
    await complete();
    const keyspace = 'back';
    const read = async (key: string) => (await rig.get({ keyspace, key: bytes(key) })).entry;
    expect(await read('a')).toMatchObject({ version: VERSION });
    expect(await read('b')).toMatchObject({ version: 3n, expiresAtMs: endsMs });
    const late = { options: { fence: { lock: 'l', token: 6n } } };
    await expect(rig.put({ keyspace, key: bytes('a'), value: bytes('x'), ...late })).rejects.toMatchObject({
      reason: 'FENCED',
    });
    const { version } = await rig.put({ keyspace, key: bytes('a'), value: bytes('new') });
    expect(version).toBeGreaterThan(BigInt(rig.node.clock.wallMs() - 60_000) * 1_024n);
    await rig.node.world.runFor(6_000);
    expect(await read('b')).toBeUndefined();
  });

  test('takes no rows after its end, so that a repeat on its way changes nothing', async () => {
    await beginRestore();
    await restoreRows();
    await restoreRows(); // twice is as good as once
    const { partitions } = rig.engine.keyspaces.get('back');
    await complete();
    await complete();
    await rig.put({ keyspace: 'back', key: bytes('a'), value: bytes('new') });
    await expect(restoreRows()).rejects.toMatchObject({ reason: 'RESTORE_ENDED' });
    const late = { key: bytes('a'), stored: { version: 1, expiresAtMs: undefined, value: bytes('late') } };
    const command = { entries: [late], fences: [], isEnd: false };
    await expect(
      rig.run(rig.engine.kv.restore(partitions[0]!, command, Infinity, true)),
    ).rejects.toMatchObject({
      reason: 'RESTORE_ENDED',
      outcome: 'NOT_APPLIED',
    });
    expect(text((await rig.get({ keyspace: 'back', key: bytes('a') })).entry?.value)).toBe('new');
  });

  test('is created once for a restore, and by no other; can be dropped', async () => {
    const { keyspace } = await beginRestore();
    expect((await beginRestore()).keyspace!.id).toBe(keyspace!.id);
    const another = { restoreId: new Uint8Array(16).fill(1) };
    await expect(beginRestore(another)).rejects.toMatchObject({ reason: 'KEYSPACE_EXISTS' });
    await expect(restoreRows(another)).rejects.toMatchObject({ reason: 'RESTORE_ENDED' });
    await expect(complete(another.restoreId)).rejects.toMatchObject({ reason: 'RESTORE_ENDED' });
    await expect(beginRestore({ name: 'default' })).rejects.toMatchObject({ reason: 'KEYSPACE_EXISTS' });
    const request = create(DropKeyspaceRequestSchema, { name: 'back' });
    await rig.run(rig.keyspaces.dropKeyspace(rig.context(), request));
    await expect(restoreRows()).rejects.toMatchObject({ reason: 'KEYSPACE_UNKNOWN' });
    expect((await beginRestore(another)).keyspace!.id).toBeGreaterThan(keyspace!.id);
  });

  test('raises the revision of the tree, once for all keyspaces of a backup', async () => {
    await beginRestore();
    const { treeRevision } = await beginSave('default');
    expect(treeRevision).toBeGreaterThan(1_000n + 2n ** 40n);
    await beginRestore({ name: 'second' });
    expect((await beginSave('default')).treeRevision).toBeLessThan(treeRevision + 10n);
    rig.node.crash();
    await rig.restart();
    expect((await beginSave('default')).treeRevision).toBeGreaterThan(treeRevision);
  });

  test.each([
    ['a key of another partition', { partition: 1 }],
    [
      'a version above those of the backup',
      { entries: [{ key: bytes('a'), value: bytes(''), version: 2n ** 60n }] },
    ],
    ['no version', { entries: [{ key: bytes('a'), value: bytes(''), version: 0n }] }],
    ['an unknown partition', { partition: 2 }],
    ['a lock without a name', { fences: [{ lock: '', token: 1n }] }],
  ])('refuses %s', async (_, init) => {
    await beginRestore({ partitions: 2 });
    const first = rig.engine.keyspaces.get('back').partitionOf(bytes('a'));
    const partition = rig.engine.keyspaces.get('back').partitions.indexOf(first);
    const given =
      'partition' in init && init.partition === 1 ? { partition: 1 - partition } : { partition, ...init };
    await expect(restoreRows(given)).rejects.toMatchObject({ reason: 'INVALID_FIELD' });
  });

  test.each([
    ['name', { name: 'A B' }, 'KEYSPACE_NAME_INVALID'],
    ['partitions', { partitions: 0 }, 'INVALID_FIELD'],
    ['partitions', { partitions: 3 }, 'INVALID_FIELD'],
    ['tree_revision', { treeRevision: 2n ** 53n }, 'INVALID_FIELD'],
    ['restore_id', { restoreId: new Uint8Array(3) }, 'INVALID_FIELD'],
  ])('is not begun with a wrong %s', async (field, init, reason) => {
    await expect(beginRestore(init)).rejects.toMatchObject({ field, reason, outcome: 'NOT_APPLIED' });
  });
});
