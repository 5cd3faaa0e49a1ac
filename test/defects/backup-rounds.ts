/** Backup files that are not whole, and keyspaces that come back from one: worlds make no backups. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  BeginRestoreRequestSchema,
  CompleteRestoreRequestSchema,
  RestoreRowsRequestSchema,
  type BackupService,
} from '@holdfast/proto/cluster/v1/backup';
import { backupService } from '../../node/services/backup-service.ts';
import type { Handlers } from '../../node/services/handler.ts';
import { BLOCK_HEAD_BYTES, BLOCK_TAIL_BYTES, PREAMBLE_BYTES } from '../../node/storage/backup-format.ts';
import { readBackup } from '../../node/storage/backup-reader.ts';
import { BackupWriter } from '../../node/storage/backup-writer.ts';
import { KvRig, bytes } from '../kv/kv-rig.ts';
import { CheckFailure } from '../raft/check-failure.ts';

const RESTORE_ID = new Uint8Array(16).fill(9);
/** Of a cluster whose clock was far ahead. */
const LAST_VERSION = 2n ** 52n - 2n ** 41n;
const TREE_REVISION = 5_000n;
const ROOM = 2n ** 40n;

/** Throws when what is not whole is taken for whole, or what was restored is otherwise than it must be. */
export async function play(): Promise<void> {
  await playFiles();
  await playRestore();
}

async function playFiles(): Promise<void> {
  const [file, other] = [writtenFile('one'), writtenFile('two')];
  if (!(await isWhole(file))) throw new CheckFailure('backup', 'a whole file is refused');
  const [blocks, others] = [blocksOf(file), blocksOf(other)];
  for (const [at, block] of blocks.entries()) {
    const without = blocks.filter((one) => one !== block);
    await refused(without, `without block ${at}`);
    await refused(blocks.slice(0, at), `cut before block ${at}`);
    await refused([...blocks.slice(0, at + 1), block, ...blocks.slice(at + 1)], `with block ${at} twice`);
    if (at > 0 && !block.equals(others[at]!))
      await refused(blocks.with(at, others[at]!), `with block ${at} of another`);
    const flipped = Buffer.from(block);
    flipped[BLOCK_HEAD_BYTES]! ^= 4;
    await refused(blocks.with(at, flipped), `with a flipped bit in block ${at}`);
  }
  await refused([...blocks, Buffer.from([0])], 'with something behind its end');
}

async function refused(blocks: readonly Buffer[], what: string): Promise<void> {
  if (await isWhole(Buffer.concat(blocks))) throw new CheckFailure('backup', `a file ${what} is taken`);
}

/** Whether a reader goes through to the end without complaint. */
async function isWhole(file: Buffer): Promise<boolean> {
  try {
    for await (const item of readBackup(chunksOf(file))) void item;
    return true;
  } catch {
    return false;
  }
}

async function* chunksOf(file: Buffer): AsyncGenerator<Buffer> {
  yield file;
}

/** The preamble, and each block. */
function blocksOf(file: Buffer): Buffer[] {
  const blocks = [file.subarray(0, PREAMBLE_BYTES)];
  for (let at = PREAMBLE_BYTES; at < file.length;) {
    const end = at + BLOCK_HEAD_BYTES + file.readUInt32LE(at + 1) + BLOCK_TAIL_BYTES;
    blocks.push(file.subarray(at, end));
    at = end;
  }
  return blocks;
}

/** Two partitions, of which the values differ from file to file. */
function writtenFile(text: string): Buffer {
  const writer = new BackupWriter();
  const parts = [
    writer.header({
      cluster_id: '00112233445566778899aabbccddeeff',
      time_ms: 1_700_000_000_000,
      tree_revision: '42',
      keyspaces: [
        {
          name: 'k',
          id: '1',
          mode: 'raft',
          replication: 3,
          max_key_bytes: 4_096,
          max_value_bytes: 1_048_576,
          created_at_ms: 1_600_000_000_000,
          partitions: [0, 1].map((at) => ({ first_hash: at, last_hash: at })),
        },
      ],
    }),
  ];
  for (const partition of [0, 1]) {
    const place = { keyspace: 0, partition };
    writer.beginPartition();
    for (const key of ['a', 'b']) {
      const entry = {
        key: bytes(key),
        version: 7,
        expiresAtMs: undefined,
        value: bytes(`${text} ${partition}`),
      };
      parts.push(writer.entries(place, [entry]));
    }
    parts.push(writer.fences(place, [{ lock: 'l', token: 3 }]));
    parts.push(writer.endPartition(place, { entries: 2, fences: 1, lastVersion: 9, asOfMs: 1 }));
  }
  return Buffer.concat([...parts, writer.trailer()]);
}

async function playRestore(): Promise<void> {
  const rig = await KvRig.start('rounds');
  const { kv, keyspaces } = rig.engine;
  const { clock } = rig.node;
  const service = backupService({ kv, keyspaces, clock, clusterId: 'c', saves: undefined });
  const handlers = service.handlers as Handlers<typeof BackupService>;
  const keyspace = 'back';
  const begin = (init: MessageInitShape<typeof BeginRestoreRequestSchema> = {}) => {
    const request = {
      restoreId: RESTORE_ID,
      name: keyspace,
      partitions: 1,
      lastVersion: LAST_VERSION,
      treeRevision: TREE_REVISION,
    };
    return rig.run(
      handlers.beginRestore(
        rig.context(),
        create(BeginRestoreRequestSchema, { ...request, ...init } as never),
      ),
    );
  };
  await begin();
  const other = { restoreId: new Uint8Array(16).fill(1) };
  const message = 'a restore into a keyspace that exists is begun';
  await mustReject(begin(other), message);
  await mustReject(begin({ ...other, name: 'default' }), message);
  const endsMs = BigInt(clock.wallMs() + 5_000);
  const entries = [
    { key: bytes('a'), value: bytes('old'), version: LAST_VERSION },
    { key: bytes('b'), value: bytes('soon'), version: 3n, expiresAtMs: endsMs },
  ];
  const rows = { keyspace, restoreId: RESTORE_ID, partition: 0, entries, fences: [{ lock: 'l', token: 7n }] };
  await rig.run(handlers.restoreRows(rig.context(), create(RestoreRowsRequestSchema, rows)));
  const { partitions } = keyspaces.get(keyspace);
  await mustReject(rig.get({ keyspace, key: bytes('a') }), 'what is not whole is read');
  const end = create(CompleteRestoreRequestSchema, { keyspace, restoreId: RESTORE_ID });
  await rig.run(handlers.completeRestore(rig.context(), end));

  const late = { key: bytes('a'), stored: { version: 1, expiresAtMs: undefined, value: bytes('late') } };
  const command = { entries: [late], fences: [], isEnd: false };
  await mustReject(
    rig.run(kv.restore(partitions[0]!, command, Infinity, true)),
    'rows are taken after the end',
  );
  const { version } = await rig.put({ keyspace, key: bytes('c'), value: bytes('new') });
  must(version > LAST_VERSION + ROOM / 2n, `version ${version} may have been given out before`);
  must(BigInt(keyspaces.treeRevision) > TREE_REVISION + ROOM / 2n, 'the revision of the tree is not raised');
  const stale = { options: { fence: { lock: 'l', token: 6n } } };
  await mustReject(
    rig.put({ keyspace, key: bytes('a'), value: bytes('x'), ...stale }),
    'a fence is forgotten',
  );
  await rig.node.world.runFor(6_000);
  must((await rig.get({ keyspace, key: bytes('b') })).entry === undefined, 'what had an end has none');
}

function must(holds: boolean, message: string): void {
  if (!holds) throw new CheckFailure('restore', message);
}

async function mustReject(work: Promise<unknown>, message: string): Promise<void> {
  const isDone = await work.then(
    () => true,
    () => false,
  );
  must(!isDone, message);
}
