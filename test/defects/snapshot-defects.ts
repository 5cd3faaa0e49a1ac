/** Defects of the way of a snapshot, of backup files, and of what comes back from one. */
import type { WorldDefect, WorldEvidence } from './world-defect.ts';

const RECEIVER = 'node/raft/snapshot-receiver.ts';
const SENDER = 'node/raft/snapshot-sender.ts';
const READER = 'node/storage/backup-reader.ts';
const KEYSPACES = 'node/kv/keyspaces.ts';
const MACHINE = 'node/kv/kv-state-machine.ts';

const inCuts = (checker: string): WorldEvidence => ({
  seed: '0',
  nodes: 3,
  rig: 'test/defects/snapshot-cuts.ts',
  checker,
});
const inRounds = (checker: string): WorldEvidence => ({
  seed: '0',
  nodes: 1,
  rig: 'test/defects/backup-rounds.ts',
  checker,
});

export const SNAPSHOT_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'go on without the last part of a snapshot',
    file: RECEIVER,
    find: '    if (part.isLast) this.#complete(transfer);',
    replace: '    if (part.isLast || part.part === 2) this.#complete(transfer);',
    reason: 'the follower lacks rows for ever',
    caughtBy: inCuts('replicas'),
  },
  {
    name: 'take parts of a snapshot in any order',
    file: RECEIVER,
    find: ' || part.part !== transfer.part) return;',
    replace: ') return;',
    reason: 'a part that comes twice stands for another, which is never asked for',
    caughtBy: inCuts('replicas'),
  },
  {
    name: 'make room for a snapshot before it is there',
    file: RECEIVER,
    find: '    await this.remove(group, transfer.generation);\n',
    replace:
      '    await this.remove(group, transfer.generation);\n    await this.remove(group, transfer.replica.generation);\n',
    reason: 'after a crash the replica has neither the old rows nor the new ones',
    caughtBy: inCuts('replicas'),
  },
  {
    name: 'leave what is to expire out of a snapshot',
    file: 'node/storage/row-store.ts',
    find: 'return rest === STORED_FAMILY ? [] :',
    replace: "return rest === STORED_FAMILY || rest.startsWith('x') ? [] :",
    reason: 'once the follower leads nothing expires any more',
    caughtBy: inCuts('replicas'),
  },
  {
    name: 'send a snapshot without its log time',
    file: SENDER,
    find: 'replica.core.snapshotFor(follower, index, stampMs)',
    replace: 'replica.core.snapshotFor(follower, index, stampMs - stampMs)',
    reason: 'what has expired is back until the next entry',
    caughtBy: inCuts('log time'),
  },
  {
    name: 'keep the rows that a snapshot replaced',
    file: 'node/raft/group-replica.ts',
    find: '    return generation === this.generation ? this.#stale.splice(0) : [];',
    replace: '    return generation < 0 ? this.#stale.splice(0) : [];',
    reason: 'the disk fills with each snapshot, until the next start',
    caughtBy: inCuts('liveness'),
  },
  {
    name: 'take a backup file that was cut for a whole one',
    file: READER,
    find: '    const block = await readBlock(source);\n',
    replace:
      '    const block = await readBlock(source).catch(() => undefined);\n    if (block === undefined) return;\n',
    reason: 'a restore brings back a part, and says that it is all',
    caughtBy: inRounds('backup'),
  },
  {
    name: 'do not compare the SHA-256 of a backup file',
    file: READER,
    find: '    if (!digest.equals(actual)) throw',
    replace: '    if (digest.length !== actual.length) throw',
    reason: 'a block of another file passes, for it has its own checksum',
    caughtBy: inRounds('backup'),
  },
  {
    name: 'pass over what follows the end of a backup file',
    file: READER,
    find: "    if (item.kind === 'end' && (await source.upTo(1)).length > 0)",
    replace: "    if (item.kind === 'end' && (await source.upTo(1)).length > 1)",
    reason: 'two files in one are taken for the first',
    caughtBy: inRounds('backup'),
  },
  {
    name: 'give out versions again after a restore',
    file: KEYSPACES,
    find: '  return usedByNow > origin.lastVersion ? usedByNow : origin.lastVersion + VERSIONS_SINCE_BACKUP;',
    replace: '  return usedByNow > origin.lastVersion ? usedByNow : origin.lastVersion;',
    reason: 'who compares a version that it was given before overwrites what it has not seen',
    caughtBy: inRounds('restore'),
  },
  {
    name: 'do not raise the revision of the tree',
    file: KEYSPACES,
    find: '    if (tree.revision < leastRevision) await tree.raiseRevision(leastRevision, anywhere);\n',
    replace: '    void leastRevision;\n',
    reason: 'revisions that were given out before the backup are given out again',
    caughtBy: inRounds('restore'),
  },
  {
    name: 'take rows of a backup after its end',
    file: MACHINE,
    find: "    if (this.#givenVersions() !== undefined) return isEnd ? undefined : { refused: 'RESTORE_ENDED' };\n",
    replace: '',
    reason: 'a repeat that was long on its way overwrites what was written since',
    caughtBy: inRounds('restore'),
  },
  {
    name: 'restore into a keyspace that exists',
    file: KEYSPACES,
    find: '      if (known !== undefined && isMadeBy(known.descriptor, origin)) return known.descriptor;\n',
    replace: '      if (known !== undefined && origin !== undefined) return known.descriptor;\n',
    reason: 'two restores, or a restore and users, write over each other',
    caughtBy: inRounds('restore'),
  },
];
