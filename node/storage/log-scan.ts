/**
 * Reads the write-ahead log after a start and says what is sound, what is the remains
 * of a write that never completed, and what is damage. It changes nothing.
 *
 *  1. Only the last batch can be torn: one batch is in flight at a time, and a new
 *     segment is begun only when the one before is durable.
 *  2. A torn batch lacks whole sectors. A batch that fails its checksum without lacking
 *     one, or that is followed by another, is damage and is never skipped.
 *  3. Sequence numbers are contiguous; a gap is damage to every group, for it cannot be
 *     said whose records are gone. So is a bad head or table. A bad payload is damage
 *     to the group it belongs to.
 */
import { asBuffer } from './byte-codec.ts';
import type { Disk } from '../runtime/disk.ts';
import {
  BATCH_ALIGNMENT,
  MAX_BATCH_BYTES,
  RecordType,
  aligned,
  isZero,
  readBody,
  readHead,
  type BatchHead,
  type LogRecord,
} from './log-format.ts';

/** A piece of the log that cannot be trusted. */
export interface LogDamage {
  /** The group that lost something; undefined: every group of the node. */
  readonly group: number | undefined;
  /** Which file and position, and what is wrong there. */
  readonly description: string;
}

/** The remains of a batch that never completed: zero them before writing on. */
export interface TornTail {
  readonly from: number;
  readonly to: number;
}

/** Where a log goes on. */
export interface ActiveSegment {
  readonly segment: number;
  readonly position: number;
  readonly lastBatch: number;
}

/** What a scan found. */
export interface LogScan {
  /** Segment numbers in order; the trailing ones may be blank. */
  readonly segments: readonly number[];
  /** The segment to write on, where, and where its last batch begins; undefined when no segment has records. */
  readonly active: ActiveSegment | undefined;
  readonly torn: TornTail | undefined;
  readonly nextSequence: number;
  readonly damage: readonly LogDamage[];
}

export type RecordVisitor = (record: LogRecord, segment: number) => void;

/** File name of a segment. */
export function segmentName(segment: number): string {
  return `${segment.toString().padStart(12, '0')}.seg`;
}

/** Numbers of the segments in `directory`, in order. */
export async function listSegments(disk: Disk, directory: string): Promise<number[]> {
  const names = await disk.list(directory);
  return names
    .flatMap((name) => (/^\d{12}\.seg$/.test(name) ? [parseInt(name, 10)] : []))
    .sort((a, b) => a - b);
}

/** Reads the whole log in order, giving each sound record to `visit`. Invariants 1 to 3. */
export async function scanLog(
  disk: Disk,
  directory: string,
  logId: Uint8Array,
  visit: RecordVisitor,
): Promise<LogScan> {
  return new Scanner(disk, directory, logId, visit, await listSegments(disk, directory)).run();
}

class Scanner {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #logId: Uint8Array;
  readonly #visit: RecordVisitor;
  readonly #segments: readonly number[];
  readonly #damage: LogDamage[] = [];
  #nextSequence: number | undefined;
  #active: ActiveSegment | undefined;
  #torn: TornTail | undefined;
  #stopped = false;

  constructor(
    disk: Disk,
    directory: string,
    logId: Uint8Array,
    visit: RecordVisitor,
    segments: readonly number[],
  ) {
    this.#disk = disk;
    this.#directory = directory;
    this.#logId = logId;
    this.#visit = visit;
    this.#segments = segments;
  }

  async run(): Promise<LogScan> {
    for (const [position, segment] of this.#segments.entries()) {
      if (this.#stopped) break;
      if (position > 0 && segment !== this.#segments[position - 1]! + 1) {
        this.#refuse(
          `${this.#path(segment)} follows ${segmentName(this.#segments[position - 1]!)}: segments between are missing`,
        );
        break;
      }
      await this.#scanSegment(segment, this.#segments.slice(position + 1));
    }
    return {
      segments: this.#segments,
      active: this.#active,
      torn: this.#torn,
      nextSequence: this.#nextSequence ?? 1,
      damage: this.#damage,
    };
  }

  async #scanSegment(segment: number, later: readonly number[]): Promise<void> {
    const bytes = await this.#readSegment(segment);
    let at = 0;
    while (at + BATCH_ALIGNMENT <= bytes.length) {
      const head = readHead(bytes, at, this.#logId);
      if (head === 'zero') return this.#endSegment(segment, bytes, at, later);
      if (typeof head === 'string')
        return this.#refuse(`${this.#path(segment)} at ${at}: batch head is damaged (${head})`);
      if (!this.#inSequence(segment, at, head)) return;
      if (!(await this.#readBatch(segment, bytes, at, head, later))) return;
      const lastBatch = at;
      at += aligned(head.length);
      this.#active = { segment, position: at, lastBatch };
    }
  }

  #inSequence(segment: number, at: number, head: BatchHead): boolean {
    const expected = this.#nextSequence ?? head.firstSequence;
    if (head.firstSequence === expected) return true;
    this.#refuse(
      `${this.#path(segment)} at ${at}: record ${head.firstSequence} follows record ${expected - 1}: records are missing`,
    );
    return false;
  }

  /** Delivers a batch; false ends the scan of the segment. */
  async #readBatch(
    segment: number,
    bytes: Buffer,
    at: number,
    head: BatchHead,
    later: readonly number[],
  ): Promise<boolean> {
    const body = readBody(bytes, at, head);
    const sound = body.records !== undefined && body.badPayloads.length === 0;
    if (
      !sound &&
      body.torn &&
      this.#nothingAfter(bytes, at + BATCH_ALIGNMENT) &&
      (await this.#allBlank(later))
    ) {
      this.#cut(segment, bytes, at);
      return false;
    }
    if (body.records === undefined) {
      this.#refuse(`${this.#path(segment)} at ${at}: batch table is damaged`);
      return false;
    }
    this.#nextSequence = head.firstSequence + head.recordCount;
    const bad = new Set(body.badPayloads);
    for (const [position, record] of body.records.entries()) {
      if (bad.has(position)) this.#damagePayload(segment, at, head, position, record);
      else this.#visit(record, segment);
    }
    return true;
  }

  #damagePayload(segment: number, at: number, head: BatchHead, position: number, record: LogRecord): void {
    this.#damage.push({
      group: record.type === RecordType.entry ? record.group : undefined,
      description: `${this.#path(segment)} at ${at}: payload of record ${head.firstSequence + position} (group ${record.group}, index ${record.index}) fails its checksum`,
    });
  }

  /** A segment ends where no batch begins. What follows must be zeros, or one torn batch. */
  async #endSegment(segment: number, bytes: Buffer, at: number, later: readonly number[]): Promise<void> {
    if (isZero(bytes, at, bytes.length)) return;
    if (!this.#nothingAfter(bytes, at)) {
      return this.#refuse(`${this.#path(segment)} at ${at}: a batch is missing, a later one is there`);
    }
    const remainsEnd = Math.min(bytes.length, at + MAX_BATCH_BYTES);
    if (!isZero(bytes, remainsEnd, bytes.length) || !(await this.#allBlank(later))) {
      return this.#refuse(`${this.#path(segment)} at ${at}: bytes that belong to no batch`);
    }
    this.#cut(segment, bytes, at);
  }

  /** Whether no batch of this log begins at or after `from`. */
  #nothingAfter(bytes: Buffer, from: number): boolean {
    for (let at = from; at + BATCH_ALIGNMENT <= bytes.length; at += BATCH_ALIGNMENT) {
      const head = readHead(bytes, at, this.#logId);
      if (typeof head !== 'string' && head.firstSequence > (this.#nextSequence ?? 0)) return false;
    }
    return true;
  }

  async #allBlank(segments: readonly number[]): Promise<boolean> {
    for (const segment of segments) {
      const bytes = await this.#readSegment(segment);
      if (!isZero(bytes, 0, bytes.length)) return false;
    }
    return true;
  }

  /** A file whose growth was interrupted may end between two batch positions. */
  async #readSegment(segment: number): Promise<Buffer> {
    const bytes = asBuffer(await this.#disk.read(this.#path(segment)));
    return bytes.subarray(0, bytes.length - (bytes.length % BATCH_ALIGNMENT));
  }

  #cut(segment: number, bytes: Buffer, at: number): void {
    let to = bytes.length;
    while (to > at && isZero(bytes, to - BATCH_ALIGNMENT, to)) to -= BATCH_ALIGNMENT;
    const lastBatch = this.#active?.segment === segment ? this.#active.lastBatch : at;
    this.#active = { segment, position: at, lastBatch };
    this.#torn = { from: at, to };
    this.#stopped = true;
  }

  #refuse(description: string): void {
    this.#damage.push({ group: undefined, description });
    this.#stopped = true;
  }

  #path(segment: number): string {
    return `${this.#directory}/${segmentName(segment)}`;
  }
}
