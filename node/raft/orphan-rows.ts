import { generationOf, groupOf, groupPrefix, prefixEnd } from '../storage/row-key.ts';
import type { RowStore } from '../storage/row-store.ts';
import type { GroupReplica } from './group-replica.ts';
import type { SnapshotReceiver } from './snapshot-receiver.ts';

/**
 * Removes rows that belong to no group, or to a generation that is not in use: what a crash
 * left of dropped groups and of snapshots that never came whole. Not before all groups are known.
 */
export async function removeOrphanRows(
  rows: RowStore,
  receiver: SnapshotReceiver,
  replicaOf: (group: number) => GroupReplica | undefined,
  isStopped: () => boolean,
): Promise<void> {
  let from = groupPrefix(0, 0);
  for (;;) {
    const row = await rows.firstStored(from);
    if (row === undefined || isStopped()) return;
    const [group, generation] = [groupOf(row), generationOf(row)];
    const ofGroup = row.slice(0, 8);
    const replica = replicaOf(group);
    const isUsed = replica?.owns(generation) === true || receiver.isFilling(group, generation);
    if (replica === undefined) await rows.removeRange(ofGroup, prefixEnd(ofGroup), isStopped);
    else if (!isUsed) await receiver.remove(group, generation);
    from = prefixEnd(row.slice(0, 12));
  }
}
