/**
 * What a directory holds of a log, brought to what its rows say: see invariant 2 of
 * partition-log.ts. Of two files of one segment a crash during compaction has left the older one.
 */
import { StoreDamaged } from '../../storage/row-store.ts';
import type { PartitionLogOptions } from './partition-log.ts';
import { Segment } from './segment.ts';
import { FILE_HEADER_BYTES } from './segment-format.ts';
import type { SegmentFiles } from './segment-files.ts';
import { SparseIndex } from './sparse-index.ts';

/** The segments, in order. Error: StoreDamaged. */
export async function recoverSegments(options: PartitionLogOptions): Promise<Segment[]> {
  const { files, directory, logEnd, logStart } = options;
  await makeDurably(files, directory);
  const found = await listSegments(files, directory);
  const { kept, surplus } = split(found, logStart, logEnd);
  for (const segment of surplus) await removeFiles(files, segment);
  const segments: Segment[] = [];
  for (const [at, segment] of kept.entries()) {
    const isLast = at === kept.length - 1;
    // What compaction has written is never appended to, and only its index says where it ended.
    const isClosed = !isLast || segment.epoch > 0;
    if (isClosed && (await loadIndex(files, segment))) segments.push(segment);
    else segments.push(await recoverSegment(files, segment, isLast ? logEnd : Infinity));
  }
  // Brought back by a later crash, what was removed would stand beside what is appended from now on.
  if (surplus.length > 0) await files.disk.syncDirectory(directory);
  checkWhole(segments, logStart, logEnd, directory);
  return segments;
}

/** By base offset; of each the newest. What is no segment, or is unfinished, is removed. */
async function listSegments(files: SegmentFiles, directory: string): Promise<Segment[]> {
  const byOffset = new Map<number, Segment>();
  const names = await files.disk.list(directory);
  for (const name of names) {
    const isLeftOver = name.endsWith('.tmp') || (name.endsWith('.index') && !names.includes(logOf(name)));
    if (isLeftOver) await files.disk.remove(`${directory}/${name}`);
    const segment = Segment.fromName(directory, name);
    if (segment === undefined) continue;
    const other = byOffset.get(segment.baseOffset);
    const [newer, older] =
      other !== undefined && other.epoch > segment.epoch ? [other, segment] : [segment, other];
    byOffset.set(segment.baseOffset, newer);
    if (older !== undefined) await removeFiles(files, older);
  }
  return [...byOffset.values()].sort((a, b) => a.baseOffset - b.baseOffset);
}

function logOf(index: string): string {
  return index.replace(/\.index$/, '.log');
}

/**
 * What begins at or behind the end was appended after what the rows know. What ends before the
 * start goes: of removals a crash may have undone any, whatever their order.
 */
function split(
  found: readonly Segment[],
  logStart: number,
  logEnd: number,
): { kept: Segment[]; surplus: Segment[] } {
  const first = found.findLastIndex(({ baseOffset }) => baseOffset <= logStart && baseOffset < logEnd);
  const isKept = ({ baseOffset }: Segment, at: number) => at >= first && baseOffset < logEnd;
  return {
    kept: found.filter(isKept),
    surplus: found.filter((segment, at) => !isKept(segment, at)),
  };
}

async function loadIndex(files: SegmentFiles, segment: Segment): Promise<boolean> {
  const bytes = await files.disk.read(segment.indexPath).catch((error: unknown) => {
    if ((error as { code?: string }).code === 'ENOENT') return undefined;
    throw error;
  });
  const decoded = bytes && SparseIndex.decode(bytes);
  if (decoded === undefined) return false;
  const size = await files.use(segment.path, (file) => file.size());
  if (size !== decoded.summary.bytes) return false;
  segment.take(decoded.index, decoded.summary);
  return true;
}

/** Looks through a file, and cuts off what lies behind the end. Error: StoreDamaged. */
async function recoverSegment(files: SegmentFiles, segment: Segment, logEnd: number): Promise<Segment> {
  const problem = await segment.recover(files, ({ baseOffset }) => baseOffset < logEnd);
  const isDropped = problem !== undefined && segment.nextOffset < logEnd;
  if (isDropped && segment.writtenBytes < FILE_HEADER_BYTES) throw problem;
  // Of the last one, what is not sound may be what was never synced: whether it is enough is asked below.
  if (isDropped && logEnd === Infinity) throw problem;
  await files.disk.remove(segment.indexPath);
  await files.use(segment.path, async (file) => {
    if ((await file.size()) === segment.writtenBytes) return;
    await file.truncate(segment.writtenBytes);
    await file.sync();
  });
  return segment;
}

function checkWhole(segments: readonly Segment[], logStart: number, logEnd: number, directory: string): void {
  const last = segments.at(-1);
  const end = last?.nextOffset ?? logStart;
  if (end < logEnd)
    throw new StoreDamaged(`the records of a topic in ${directory} end at offset ${end}, and had ${logEnd}`);
  for (const [at, segment] of segments.entries()) {
    const next = segments[at + 1];
    // Compaction leaves gaps; without it there are none.
    if (next === undefined || segment.epoch > 0 || next.baseOffset === segment.nextOffset) continue;
    throw new StoreDamaged(
      `the records of a topic in ${directory} have a hole between offsets ${segment.nextOffset} and ${next.baseOffset}`,
    );
  }
  const first = segments[0];
  if (first !== undefined && first.baseOffset > logStart && first.epoch === 0 && !isCompacted(segments))
    throw new StoreDamaged(
      `the records of a topic in ${directory} begin at offset ${first.baseOffset}, and had ${logStart}`,
    );
}

function isCompacted(segments: readonly Segment[]): boolean {
  return segments.some(({ epoch }) => epoch > 0);
}

/** A directory that is new is there after a crash. */
async function makeDurably(files: SegmentFiles, directory: string): Promise<void> {
  const parent = directory.slice(0, directory.lastIndexOf('/'));
  const name = directory.slice(parent.length + 1);
  if ((await files.disk.list(parent)).includes(name)) return;
  await files.disk.makeDirectory(directory);
  await files.disk.syncDirectory(parent);
  await files.disk.syncDirectory('');
}

async function removeFiles(files: SegmentFiles, segment: Segment): Promise<void> {
  await files.disk.remove(segment.path);
  await files.disk.remove(segment.indexPath);
}
