/**
 * Scans: the partitions of a keyspace hold keys by hash, so each is read in order and
 * the results are merged. Works in parts, so that no snapshot is held for long.
 */
import type { Clock } from '@holdfast/client/clock';
import type { Entry } from '@holdfast/proto/kv/v1/kv';
import type { GroupHost } from '../raft/group-host.ts';
import type { RemoteReads } from '../cluster/remote-reads.ts';
import { awaitRead, isFresh, isNotLed, proposalError } from '../raft/propose.ts';
import { binaryBytes, binaryString, prefixEnd } from '../storage/row-key.ts';
import type { RowStore } from '../storage/row-store.ts';
import { decodeValue, type StoredValue } from './kv-rows.ts';
import type { Partition, OpenKeyspace } from './keyspaces.ts';

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

interface RowSources {
  readonly host: GroupHost;
  readonly rows: RowStore;
  readonly clock: Clock;
}

interface ScanSources extends RowSources {
  /** Reads partitions that cannot be read here. */
  readonly reads: RemoteReads | undefined;
  readonly deadlineMs: number;
  /** How old what is read may be when the scan begins; undefined: it holds all that was acknowledged before. */
  readonly maxStalenessMs: number | undefined;
}

/** A part of a partition's keys that is to be read, as binary strings. */
export interface PartRequest {
  readonly start: string;
  /** Undefined: to the end. */
  readonly end: string | undefined;
  readonly maxRows: number;
  /** At least one row, whatever its size. */
  readonly maxBytes: number;
}

/** Entries that have not expired, and where the next part begins; undefined: there is none. */
export interface ReadPart {
  readonly entries: readonly { readonly key: string; readonly stored: StoredValue }[];
  readonly next: string | undefined;
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
  const cursors = await Promise.all(
    keyspace.partitions.map(async (partition) => {
      const isHere = await isReadableHere(sources, partition);
      return new PartitionCursor(sources, partition, isHere, selection, chunkRows, chunkBytes);
    }),
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

/**
 * True: what is read here from now on holds everything that was acknowledged before. False:
 * another node has to be asked. Error: NOT_LEADER, when there is none.
 */
async function isReadableHere(
  { host, clock, reads, maxStalenessMs }: ScanSources,
  partition: Partition,
): Promise<boolean> {
  if (host.canReadNow(partition.group)) return true;
  if (maxStalenessMs !== undefined && isFresh(host, partition.group, clock.monotonicMs() - maxStalenessMs))
    return true;
  if (!partition.isServed && reads !== undefined) return false;
  try {
    await awaitRead(host, partition.group);
    return true;
  } catch (error) {
    if (reads !== undefined && isNotLed(error)) return false;
    throw error;
  }
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
  readonly #partition: Partition;
  readonly #isHere: boolean;
  readonly #chunkRows: number;
  readonly #chunkBytes: number;
  readonly #end: string | undefined;
  #from: string;
  #entries: ReadPart['entries'] = [];
  #at = 0;
  #exhausted = false;

  constructor(
    sources: ScanSources,
    partition: Partition,
    isHere: boolean,
    selection: ScanSelection,
    chunkRows: number,
    chunkBytes: number,
  ) {
    this.#sources = sources;
    this.#partition = partition;
    this.#isHere = isHere;
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
      const request = {
        start: this.#from,
        end: this.#end,
        maxRows: this.#chunkRows,
        maxBytes: this.#chunkBytes,
      };
      const { entries, next } = await this.#read(request);
      this.#entries = entries;
      this.#at = 0;
      if (next === undefined) this.#exhausted = true;
      else this.#from = next;
    }
  }

  #read(request: PartRequest): Promise<ReadPart> {
    const { reads, deadlineMs } = this.#sources;
    if (this.#isHere || reads === undefined) return readPart(this.#sources, this.#partition, request);
    return readRemotePart(reads, this.#partition, request, deadlineMs);
  }
}

/** Reads a part by the replica here. */
export async function readPart(
  sources: RowSources,
  partition: Partition,
  { start, end, maxRows, maxBytes }: PartRequest,
): Promise<ReadPart> {
  for (;;) {
    assertPresent(sources.host, partition);
    const machine = partition.machine!;
    const prefix = machine.keys.data(NO_KEY);
    const { rows, more } = await sources.rows.range(
      prefix + start,
      end === undefined ? prefixEnd(prefix) : prefix + end,
      maxRows,
      maxBytes,
    );
    assertPresent(sources.host, partition);
    if (partition.machine !== machine) continue; // a snapshot has put other rows in their place
    const all = rows.map(([row, content]) => ({
      key: row.slice(prefix.length),
      stored: decodeValue(content),
    }));
    await passExpiry(sources, partition, all);
    const logTimeMs = sources.host.logTimeMs(partition.group);
    const entries = all.filter(
      ({ stored }) => stored.expiresAtMs === undefined || stored.expiresAtMs > logTimeMs,
    );
    return { entries, next: more ? `${all.at(-1)!.key}\0` : undefined };
  }
}

/** What has expired by the clock must have expired by log time before it is left out. */
async function passExpiry(
  { host, clock }: RowSources,
  { group }: Partition,
  entries: readonly { stored: StoredValue }[],
): Promise<void> {
  const nowMs = clock.wallMs();
  const logTimeMs = host.logTimeMs(group);
  const between = entries.some(
    ({ stored: { expiresAtMs } }) =>
      expiresAtMs !== undefined && expiresAtMs > logTimeMs && expiresAtMs <= nowMs,
  );
  if (between) await host.advanceTime(group);
}

/** Reads a part on another node. */
async function readRemotePart(
  reads: RemoteReads,
  partition: Partition,
  { start, end, maxRows, maxBytes }: PartRequest,
  deadlineMs: number,
): Promise<ReadPart> {
  const range = {
    start: binaryBytes(start),
    end: end === undefined ? undefined : binaryBytes(end),
    maxRows,
    maxBytes,
  };
  const { entries, next } = await reads.readRange(partition, range, deadlineMs);
  return {
    entries: entries.map((entry) => ({ key: binaryString(entry.key), stored: storedEntry(entry) })),
    next: next === undefined ? undefined : binaryString(next),
  };
}

/** A value that another node has read. */
export function storedEntry({ value, version, expiresAtMs }: Entry): StoredValue {
  const endsMs = expiresAtMs === undefined ? undefined : Number(expiresAtMs);
  return { value, version: Number(version), expiresAtMs: endsMs };
}

/** Refuses to read a partition that is gone: what is left of it is not what it was. */
export function assertPresent(host: GroupHost, partition: Partition): void {
  if (!partition.isGone && host.replica(partition.group) === (partition.replica as unknown)) return;
  throw proposalError({ cause: 'group gone', outcome: 'NOT_APPLIED' }).withOutcome(undefined);
}

/** The selection of all keys that begin with `prefix`. */
export function prefixSelection(prefix: Uint8Array): { start: string; end: string | undefined } {
  const start = binaryString(prefix);
  return { start, end: start === '' || /^\xff+$/.test(start) ? undefined : prefixEnd(start) };
}
