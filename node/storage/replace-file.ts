import type { Disk } from '../runtime/disk.ts';

/** Writes a file whole (new file, sync, rename, sync of the directory), so that a reader finds the old or the new one. */
export async function replaceFile(disk: Disk, path: string, content: Uint8Array): Promise<void> {
  const next = `${path}.new`;
  await disk.remove(next);
  const file = await disk.open(next, 'create');
  await file.write(0, content);
  await file.sync();
  await file.close();
  await disk.rename(next, path);
  await disk.syncDirectory('');
}
