/** What a node lets into its log: bounded in bytes, and nothing that grows data while the disk is low. */
import { HoldfastError } from '@holdfast/client/error';
import type { GroupHost } from '../raft/group-host.ts';
import type { SpaceGuard } from '../storage/space-guard.ts';

/** Why a command of so many bytes is refused now; undefined: it is not. */
export type Admission = (bytes: number, grows: boolean) => HoldfastError | undefined;

/** The admission of a node whose space is watched from some time of its start on. */
export function admission(host: GroupHost, spaceNow: () => SpaceGuard | undefined): Admission {
  return (bytes, grows) => {
    const space = spaceNow();
    if (grows && space?.isLow === true) return diskLow(space);
    return host.hasRoom(bytes) ? undefined : overloaded(host);
  };
}

function diskLow(space: SpaceGuard): HoldfastError {
  return new HoldfastError({
    reason: 'DISK_LOW',
    message: `the node's disk has ${space.freeBytes} bytes free, writes that grow data need ${space.floorBytes}. Nothing was written; reads and deletes go on. Free space, or delete data.`,
    outcome: 'NOT_APPLIED',
    actual: String(space.freeBytes),
    limit: String(space.floorBytes),
    retryAfterMs: 1_000,
  });
}

function overloaded(host: GroupHost): HoldfastError {
  return new HoldfastError({
    reason: 'OVERLOADED',
    message: `${host.queuedBytes} bytes of writes wait for the log, which is the limit. Nothing was written; try again later.`,
    outcome: 'NOT_APPLIED',
    actual: String(host.queuedBytes),
    retryAfterMs: 100,
  });
}
