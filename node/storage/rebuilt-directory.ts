/**
 * A directory that begins anew after its data was damaged. What was in it is put aside, into a
 * folder of its own, for a person to look at; nothing reads it any more.
 *
 *  1. Who the directory is to be is written first, in a file of its own. With that there,
 *     whatever ended the process meanwhile, the rest is done at the next start.
 *  2. The new identity takes the old one's place last, so no moment shows it with old data.
 */
import type { Disk } from '../runtime/disk.ts';
import { IDENTITY_FILE, readIdentity, writeIdentity, type Identity } from './identity.ts';

const NEXT_IDENTITY_FILE = 'identity.next.json';
/** A folder of folders. */
const NESTED = 'topics';

/** What a directory is to begin anew as; undefined: nothing. */
export function nextIdentity(disk: Disk): Promise<Identity | undefined> {
  return readIdentity(disk, NEXT_IDENTITY_FILE);
}

/** Folder of what was put aside when a directory began anew. */
export function asideFolder({ rebuilt_from: before = 'before' }: Identity): string {
  return `damaged-${before}`;
}

/** Invariant 1. */
export async function beginAnew(disk: Disk, identity: Identity): Promise<void> {
  await writeIdentity(disk, identity, NEXT_IDENTITY_FILE);
}

/** Does what `beginAnew` has begun, if it has. `contents`: the folders that hold the data. Invariant 2. */
export async function completeRebuild(disk: Disk, contents: readonly string[]): Promise<void> {
  const next = await nextIdentity(disk);
  if (next === undefined) return;
  const aside = asideFolder(next);
  for (const folder of contents) await disk.makeDirectory(`${aside}/${folder}`);
  await disk.syncDirectory('');
  await disk.syncDirectory(aside);
  for (const folder of contents) await putAside(disk, folder, `${aside}/${folder}`);
  if ((await disk.list('')).includes(IDENTITY_FILE)) {
    await disk.rename(IDENTITY_FILE, `${aside}/${IDENTITY_FILE}`);
    await disk.syncDirectory(aside);
  }
  await disk.rename(NEXT_IDENTITY_FILE, IDENTITY_FILE);
  await disk.syncDirectory('');
}

async function putAside(disk: Disk, folder: string, aside: string): Promise<void> {
  const names = await disk.list(folder);
  for (const name of names) {
    if (folder === NESTED) {
      await disk.makeDirectory(`${aside}/${name}`);
      await putAside(disk, `${folder}/${name}`, `${aside}/${name}`);
      await disk.removeDirectory(`${folder}/${name}`);
    } else await disk.rename(`${folder}/${name}`, `${aside}/${name}`);
  }
  await disk.syncDirectory(aside);
  if (names.length > 0) await disk.syncDirectory(folder);
}
