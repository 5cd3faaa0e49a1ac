/**
 * Scans: the partitions of a keyspace hold keys by hash, so each is read in order and
 * the results are merged. Works in parts, so that no snapshot is held for long.
 */
import type { Clock } from '@holdfast/client/clock';
import type { GroupHost } from '../raft/group-host.ts';
import { awaitRead, proposalError } from '../raft/propose.ts';
import { binaryBytes, binaryString, prefixEnd } from '../storage/row-key.ts';
import type { RowStore } from '../storage/row-store.ts';
import { decodeValue, type StoredValue } from './kv-rows.ts';
import type { LocalPartition, OpenKeyspace } from './keyspaces.ts';

/** What to scan: keys in [start, end) as binary strings; `end` undefined: to the end. */
export interface ScanSelection {
  readonly start: string;
  readonly end: string | undefined;
  /** Greatest number of entries; 0: all. */
  readonly limit: number;
}

export interface ScanEntry {
  readonly key: Buffer;
  readonly stored: StoredValue;
}

/** Entries in order, and whether there may be more. */
export interface ScanPart {
  readonly entries: readonly ScanEntry[];
  readonly more: boolean;
}

const PART_ENTRIES = 500;
const PART_BYTES = 512 * 1024;
/** Bytes that are read ahead from all partitions together; of each at least one row. */
const READ_BYTES = 4 * 1024 * 1024;
/** Rows read at a time from one partition; together about one part. */
const MIN_CHUNK_ROWS = 16;

const NO_KEY = new Uint8Array(0);

interface ScanSources {
  readonly host: GroupHost;
  readonly rows: RowStore;
  readonly clock: Clock;
}

/** Yields the selected entries in key order, in parts of bounded size. */
export async function* scanKeyspace(
  sources: ScanSources,
  keyspace: OpenKeyspace,
  selection: ScanSelection,
): AsyncGenerator<ScanPart> {
  const chunkRows = Math.max(
    MIN_CHUNK_ROWS,
    Math.ceil(Math.min(selection.limit || PART_ENTRIES, PART_ENTRIES) / keyspace.partitions.length) + 1,
  );
  const chunkBytes = Math.ceil(READ_BYTES / keyspace.partitions.length);
  await Promise.all(keyspace.partitions.map(({ group }) => readable(sources.host, group)));
  const cursors = keyspace.partitions.map(
    (partition) => new PartitionCursor(sources, partition, selection, chunkRows, chunkBytes),
  );
  let left = selection.limit === 0 ? Infinity : selection.limit;
  for (;;) {
    const entries: ScanEntry[] = [];
    let bytes = 0;
    let next: PartitionCursor | undefined;
    while (entries.length < Math.min(PART_ENTRIES, left) && bytes < PART_BYTES) {
      next = await lowest(cursors);
      if (next === undefined) break;
      const entry = next.take();
      entries.push(entry);
      bytes += entry.key.length + entry.stored.value.byteLength;
    }
    left -= entries.length;
    const more = (await lowest(cursors)) !== undefined;
    yield { entries, more };
    if (!more || left <= 0) return;
  }
}

/** What is read from now on holds everything that was acknowledged before. Error: NOT_LEADER. */
async function readable(host: GroupHost, group: number): Promise<void> {
  if (!host.canReadNow(group)) await awaitRead(host, group);
}

/** The cursor with the least next key; undefined: all are at their end. */
async function lowest(cursors: readonly PartitionCursor[]): Promise<PartitionCursor | undefined> {
  const empty = cursors.filter((cursor) => cursor.needsFill);
  if (empty.length > 0) await Promise.all(empty.map((cursor) => cursor.fill()));
  let best: PartitionCursor | undefined;
  for (const cursor of cursors) {
    if (cursor.peek !== undefined && (best === undefined || cursor.peek < best.peek!)) best = cursor;
  }
  return best;
}

class PartitionCursor {
  readonly #sources: ScanSources;
  readonly #partition: LocalPartition;
  readonly #chunkRows: number;
  readonly #chunkBytes: number;
  readonly #end: string | undefined;
  #from: string;
  #entries: { key: string; stored: StoredValue }[] = [];
  #at = 0;
  #exhausted = false;

  constructor(
    sources: ScanSources,
    partition: LocalPartition,
    selection: ScanSelection,
    chunkRows: number,
    chunkBytes: number,
  ) {
    this.#sources = sources;
    this.#partition = partition;
    this.#chunkRows = chunkRows;
    this.#chunkBytes = chunkBytes;
    this.#from = selection.start;
    this.#end = selection.end;
  }

  get needsFill(): boolean {
    return this.#at >= this.#entries.length && !this.#exhausted;
  }

  /** The next key as a binary string; undefined: none is at hand. */
  get peek(): string | undefined {
    return this.#entries[this.#at]?.key;
  }

  take(): ScanEntry {
    const { key, stored } = this.#entries[this.#at++]!;
    return { key: binaryBytes(key), stored };
  }

  /** Reads on until there is an entry or the end. Expired entries are absent. */
  async fill(): Promise<void> {
    while (this.needsFill) {
      const { machine } = this.#partition;
      const prefix = machine.keys.data(NO_KEY);
      const { rows, more } = await this.#sources.rows.range(
        prefix + this.#from,
        this.#end === undefined ? prefixEnd(prefix) : prefix + this.#end,
        this.#chunkRows,
        this.#chunkBytes,
      );
      assertPresent(this.#sources.host, this.#partition);
      if (this.#partition.machine !== machine) continue; // a snapshot has put other rows in their place
      const all = rows.map(([row, content]) => ({
        key: row.slice(prefix.length),
        stored: decodeValue(content),
      }));
      await this.#passExpiry(all);
      const logTimeMs = this.#sources.host.logTimeMs(this.#partition.group);
      this.#entries = all.filter(
        ({ stored }) => stored.expiresAtMs === undefined || stored.expiresAtMs > logTimeMs,
      );
      this.#at = 0;
      this.#exhausted = !more;
      if (all.length > 0) this.#from = `${all.at(-1)!.key}\0`;
    }
  }

  /** What has expired by the clock must have expired by log time before it is left out. */
  async #passExpiry(entries: readonly { stored: StoredValue }[]): Promise<void> {
    const { host, clock } = this.#sources;
    const nowMs = clock.wallMs();
    const logTimeMs = host.logTimeMs(this.#partition.group);
    const between = entries.some(
      ({ stored: { expiresAtMs } }) =>
        expiresAtMs !== undefined && expiresAtMs > logTimeMs && expiresAtMs <= nowMs,
    );
    if (between) await host.advanceTime(this.#partition.group);
  }
}

/** Refuses to read a partition that is gone: what is left of it is not what it was. */
export function assertPresent(host: GroupHost, partition: LocalPartition): void {
  if (host.replica(partition.group) === (partition.replica as unknown)) return;
  throw proposalError({ cause: 'group gone', outcome: 'NOT_APPLIED' }).withOutcome(undefined);
}

/** The selection of all keys that begin with `prefix`. */
export function prefixSelection(prefix: Uint8Array): { start: string; end: string | undefined } {
  const start = binaryString(prefix);
  return { start, end: start === '' || /^\xff+$/.test(start) ? undefined : prefixEnd(start) };
}
