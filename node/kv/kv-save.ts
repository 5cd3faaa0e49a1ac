/** Copies a partition as of one moment, by the replica on this node, while it goes on. */
import type { GroupHost } from '../raft/group-host.ts';
import { awaitRead, proposalError } from '../raft/propose.ts';
import type { GroupSnapshot, RowStore, SnapshotRow } from '../storage/row-store.ts';
import { binaryBytes } from '../storage/row-key.ts';
import { ByteReader } from '../storage/byte-codec.ts';
import type { WriteFence } from './kv-command.ts';
import { RowFamily, VersionCounter, decodeValue } from './kv-rows.ts';
import { assertPresent } from './kv-scan.ts';
import type { Partition } from './keyspaces.ts';
import type { RestoredEntry } from './restore-command.ts';

/** A part of a copy, of bounded size; the last one has `end`. */
export interface SavedPart {
  readonly entries: readonly RestoredEntry[];
  readonly fences: readonly WriteFence[];
  readonly end: SavedEnd | undefined;
}

export interface SavedEnd {
  readonly entries: number;
  readonly fences: number;
  /** The greatest version given out; 0: none. */
  readonly lastVersion: number;
  /** Log time of the copy's moment. */
  readonly asOfMs: number;
}

export interface SaveSources {
  readonly host: GroupHost;
  readonly rows: RowStore;
}

const ROWS_AT_ONCE = 256;
/** Of a part: making a message of more holds others up. */
const PART_ROWS = 2_048;
/** About the bytes of a part; one entry alone may be larger. */
export const SAVED_PART_BYTES = 256 * 1024;

/**
 * Yields all of a partition as of one moment after this call: it holds whatever was
 * acknowledged before. An open copy keeps old rows on disk: it has to be read or left soon.
 * Errors: NOT_LEADER, KEYSPACE_UNKNOWN, StoreDamaged.
 */
export async function* savePartition(sources: SaveSources, partition: Partition): AsyncGenerator<SavedPart> {
  const snapshot = await openCopy(sources, partition);
  try {
    yield* partsOf(snapshot);
  } finally {
    await snapshot.close();
  }
}

/** A snapshot shows what is in the store, which lags behind what is applied. */
async function openCopy({ host, rows }: SaveSources, partition: Partition): Promise<GroupSnapshot> {
  const { group } = partition;
  if (partition.replica === undefined || !partition.isServed)
    throw proposalError({ cause: 'no replica', outcome: 'NOT_APPLIED' }).withOutcome(undefined);
  if (!host.canReadNow(group)) await awaitRead(host, group);
  const { index } = partition.replica.applied;
  for (;;) {
    assertPresent(host, partition);
    const snapshot = await rows.openSnapshot(group);
    const { applied } = snapshot;
    if (applied.index >= index && applied.generation === partition.replica.generation) return snapshot;
    await snapshot.close();
    assertServing(host);
    rows.startFlush();
    await rows.flushed();
  }
}

function assertServing({ failure: cause }: GroupHost): void {
  if (cause !== undefined) throw proposalError({ cause, outcome: 'NOT_APPLIED' }).withOutcome(undefined);
}

/** Rows come by family: entries, then fences, then the counter of versions; what follows is not copied. */
async function* partsOf(snapshot: GroupSnapshot): AsyncGenerator<SavedPart> {
  const { stampMs } = snapshot.applied;
  const counts = { entries: 0, fences: 0, lastVersion: 0 };
  for (let isEnd = false; !isEnd;) {
    const entries: RestoredEntry[] = [];
    const fences: WriteFence[] = [];
    for (let bytes = 0, count = 0; bytes < SAVED_PART_BYTES && count < PART_ROWS && !isEnd;) {
      const rows = await snapshot.next(ROWS_AT_ONCE);
      count += rows.length;
      isEnd = rows.length === 0;
      for (const row of rows) {
        bytes += row[0].length + row[1].byteLength;
        isEnd ||= !take(row, entries, fences, counts, stampMs);
      }
    }
    counts.entries += entries.length;
    counts.fences += fences.length;
    yield { entries, fences, end: isEnd ? { ...counts, asOfMs: stampMs } : undefined };
  }
}

/** False: neither this row nor any that follows is of a copy. */
function take(
  [rest, content]: SnapshotRow,
  entries: RestoredEntry[],
  fences: WriteFence[],
  counts: { lastVersion: number },
  stampMs: number,
): boolean {
  const name = () => binaryBytes(rest.slice(1));
  switch (rest[0]) {
    case RowFamily.data: {
      const stored = decodeValue(content);
      if (stored.expiresAtMs === undefined || stored.expiresAtMs > stampMs)
        entries.push({ key: name(), stored });
      return true;
    }
    case RowFamily.fence:
      fences.push({ lock: name().toString('utf8'), token: new ByteReader(content).u64() });
      return true;
    case RowFamily.versions:
      counts.lastVersion = VersionCounter.decode(content).last;
      return true;
  }
  return rest[0]! < RowFamily.versions;
}
