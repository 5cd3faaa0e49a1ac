import type { Segment } from './segment.ts';
import type { SegmentFiles } from './segment-files.ts';

/** Writes the index of a segment, durably. */
export async function writeIndex(files: SegmentFiles, segment: Segment): Promise<void> {
  const content = segment.index.encode(segment.summary);
  await files.create(segment.indexPath, async (file) => {
    await file.write(0, content);
    await file.sync();
  });
  await files.forget(segment.indexPath);
  segment.isIndexed = true;
}

/** One reader less. */
export function unread(segment: Segment): void {
  segment.readers--;
  if (segment.readers > 0 || segment.onUnread === undefined) return;
  const { onUnread } = segment;
  segment.onUnread = undefined;
  onUnread();
}
