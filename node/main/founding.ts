/** How a new cluster begins. */
import type { Clock, Timer } from '@holdfast/client/clock';
import { MEMBER_TABLE, type ClusterMembers } from '../cluster/cluster-members.ts';
import { tableChange } from '../cluster/planner.ts';
import type { Coordination } from '../coordination/coordination.ts';
import type { Keyspaces } from '../kv/keyspaces.ts';
import {
  DEFAULT_KEY_BYTES,
  DEFAULT_PARTITIONS,
  DEFAULT_REPLICATION,
  DEFAULT_VALUE_BYTES,
} from '../kv/limits.ts';

const BOOTSTRAPPED = '/holdfast/bootstrapped';
const BOOTSTRAP_EVERY_MS = 250;

/** A new cluster begins with its members and one keyspace. Dropped, it does not come back. */
export async function bootstrap(
  coordination: Coordination,
  keyspaces: Keyspaces,
  members: ClusterMembers,
): Promise<void> {
  if (members.written === undefined)
    await coordination.transact(tableChange({ ...members.current, version: 1 }, 0));
  if (coordination.get(BOOTSTRAPPED) !== undefined) return;
  const known = keyspaces.list().some(({ name }) => name === 'default');
  if (!known) {
    await keyspaces.create({
      name: 'default',
      partitions: DEFAULT_PARTITIONS,
      replication: DEFAULT_REPLICATION,
      maxKeyBytes: DEFAULT_KEY_BYTES,
      maxValueBytes: DEFAULT_VALUE_BYTES,
    });
  }
  await coordination.transact({
    comparisons: [],
    changes: [{ key: BOOTSTRAPPED, value: Buffer.from('1') }],
  });
}

/** Has whoever leads group 0 do it; one that fails halfway is followed by another. Returns how to stop. */
export function keepBootstrapping(
  clock: Clock,
  coordination: Coordination,
  keyspaces: Keyspaces,
  members: ClusterMembers,
): () => void {
  let isStopped = false;
  let timer: Timer;
  const attempt = async () => {
    // What fails here is tried again, or has stopped the node.
    if (coordination.isLeader) await bootstrap(coordination, keyspaces, members).catch(() => undefined);
    if (!isStopped && !isBootstrapped(coordination))
      timer = clock.setTimer(BOOTSTRAP_EVERY_MS, () => void attempt());
  };
  timer = clock.setTimer(BOOTSTRAP_EVERY_MS, () => void attempt());
  return () => {
    isStopped = true;
    timer.cancel();
  };
}

/** Whether that is done. */
export function isBootstrapped(coordination: Coordination): boolean {
  try {
    return [MEMBER_TABLE, BOOTSTRAPPED].every((key) => coordination.get(key) !== undefined);
  } catch {
    return true; // the store is damaged, which the scrubber or the next read will say
  }
}
