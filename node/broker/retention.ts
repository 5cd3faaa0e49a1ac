/** Which records of a partition are to go. Pure; by whole segments, and never the active one. */
import type { TopicSettings } from './topic-limits.ts';

/** A file of records. */
export interface SegmentFigures {
  readonly baseOffset: number;
  readonly bytes: number;
  /** When its last batch was appended, by log time. */
  readonly lastAppendedAtMs: number;
  /** It is being written. */
  readonly isActive: boolean;
}

/** Offset from which on records stay; segments in order of offset. */
export function retainFrom(
  segments: readonly SegmentFigures[],
  { retentionMs, retentionBytes }: Pick<TopicSettings, 'retentionMs' | 'retentionBytes'>,
  nowMs: number,
): number {
  let bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0);
  let start = segments[0]?.baseOffset ?? 0;
  for (const [at, segment] of segments.entries()) {
    const next = segments[at + 1];
    if (segment.isActive || next === undefined) break;
    const isOld = retentionMs > 0 && segment.lastAppendedAtMs < nowMs - retentionMs;
    // What would be left must still be more than is to stay.
    const isTooMuch = retentionBytes > 0 && bytes - segment.bytes >= retentionBytes;
    if (!isOld && !isTooMuch) break;
    bytes -= segment.bytes;
    start = next.baseOffset;
  }
  return start;
}

/** Where a compaction is to end; undefined: too little has come since the last one, which ended at `compactedTo`. */
export function compactTo(
  segments: readonly SegmentFigures[],
  compactedTo: number,
  minDirtyPercent: number,
): number | undefined {
  const closed = segments.filter(({ isActive }) => !isActive);
  const end = segments.find(({ isActive }) => isActive)?.baseOffset;
  if (end === undefined || end <= compactedTo) return undefined;
  const total = closed.reduce((sum, { bytes }) => sum + bytes, 0);
  const dirty = closed
    .filter(({ baseOffset }) => baseOffset >= compactedTo)
    .reduce((sum, { bytes }) => sum + bytes, 0);
  return dirty * 100 >= total * minDirtyPercent && dirty > 0 ? end : undefined;
}
