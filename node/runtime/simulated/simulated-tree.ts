import type { DiskError } from '../disk.ts';
import { versionsKept, type CrashPolicy } from './crash-policy.ts';
import type { SeededRandom } from './seeded-random.ts';
import { SimulatedFile } from './simulated-file.ts';

/**
 * The names on a simulated disk, twice: as programs see them and as the medium holds
 * them. The difference is a list of directory changes, each of them atomic.
 */
export class SimulatedTree {
  #seen = new Names();
  #durable = new Names();
  #unsynced: DirectoryChange[] = [];

  /** The file at `path`; throws ENOENT. */
  file(path: string): SimulatedFile {
    const file = this.#seen.files.get(path);
    if (file === undefined) throw diskError('ENOENT', `no file ${path}`);
    return file;
  }

  has(path: string): boolean {
    return this.#seen.files.has(path);
  }

  hasDirectory(directory: string): boolean {
    return this.#seen.directories.has(directory);
  }

  /** Paths of all files, sorted. */
  paths(): string[] {
    return [...this.#seen.files.keys()].sort();
  }

  directories(): string[] {
    return [...this.#seen.directories].sort();
  }

  /** Names of the files and directories directly in `directory`, sorted. */
  list(directory: string): string[] {
    const all = [...this.#seen.files.keys(), ...this.#seen.directories];
    const inside = all.filter((path) => path !== '' && parentOf(path) === directory);
    return inside.map((path) => path.slice(path.lastIndexOf('/') + 1)).sort();
  }

  usedBytes(): number {
    let used = 0;
    for (const file of this.#seen.files.values()) used += file.size;
    return used;
  }

  create(path: string): SimulatedFile {
    if (this.has(path) || this.hasDirectory(path)) throw diskError('EEXIST', `${path} exists`);
    if (!this.hasDirectory(parentOf(path))) throw diskError('ENOENT', `no directory for ${path}`);
    const file = new SimulatedFile();
    this.#change({ kind: 'link', path, file });
    return file;
  }

  makeDirectory(directory: string): void {
    if (directory === '' || this.hasDirectory(directory)) return;
    this.makeDirectory(parentOf(directory));
    this.#change({ kind: 'make', path: directory });
  }

  remove(path: string): void {
    if (this.has(path)) this.#change({ kind: 'unlink', path });
  }

  removeDirectory(directory: string): void {
    if (this.hasDirectory(directory) && this.list(directory).length === 0)
      this.#change({ kind: 'unmake', path: directory });
  }

  rename(from: string, to: string): void {
    const file = this.file(from);
    if (!this.hasDirectory(parentOf(to))) throw diskError('ENOENT', `no directory for ${to}`);
    this.#change({ kind: 'rename', from, path: to, file });
  }

  /** Makes every change in `directory` so far durable. */
  sync(directory: string): void {
    if (!this.hasDirectory(directory)) throw diskError('ENOENT', `no directory ${directory}`);
    const touches = (change: DirectoryChange) =>
      parentOf(change.path) === directory ||
      (change.kind === 'rename' && parentOf(change.from) === directory);
    const synced = this.#unsynced.filter(touches);
    for (const change of synced) this.#durable.apply(change);
    // A name that was given up meanwhile is not made by what came before: that is in another directory.
    const isMoot = (change: DirectoryChange, position: number) =>
      synced.some(
        (one) => one.kind === 'rename' && one.from === change.path && this.#unsynced.indexOf(one) > position,
      );
    this.#unsynced = this.#unsynced.filter((change, at) => !touches(change) && !isMoot(change, at));
  }

  /** Loses or keeps each unsynced change of names and contents. What is left is durable. */
  crash(policy: CrashPolicy, random: SeededRandom): void {
    const total = this.#unsynced.length;
    // Most file systems keep the order of directory changes; the port promises no order.
    const prefix = random.chance(0.5) ? Math.floor(random.float() * (total + 1)) : undefined;
    this.#unsynced.forEach((change, position) => {
      const inOrder = policy === 'seeded' && prefix !== undefined;
      const isKept = inOrder ? position < prefix : versionsKept(policy, random, 1, position, total) > 0;
      if (isKept) this.#durable.apply(change);
    });
    this.#durable.dropOrphans();
    this.#unsynced = [];
    this.#seen = this.#durable.copy();
    for (const file of new Set(this.#seen.files.values())) file.crash(policy, random);
  }

  /** Makes everything durable as it is seen. */
  writeBack(): void {
    this.#durable = this.#seen.copy();
    this.#unsynced = [];
    for (const file of new Set(this.#seen.files.values())) file.writeBack();
  }

  /** Puts a file there, as if it had always been. */
  plant(path: string, content: Uint8Array): void {
    for (let at = parentOf(path); at !== ''; at = parentOf(at)) this.plantDirectory(at);
    const file = SimulatedFile.durable(content);
    this.#seen.files.set(path, file);
    this.#durable.files.set(path, file);
  }

  plantDirectory(directory: string): void {
    this.#seen.directories.add(directory);
    this.#durable.directories.add(directory);
  }

  #change(change: DirectoryChange): void {
    this.#seen.apply(change);
    this.#unsynced.push(change);
  }
}

type DirectoryChange =
  | { readonly kind: 'link'; readonly path: string; readonly file: SimulatedFile }
  | { readonly kind: 'unlink'; readonly path: string }
  | { readonly kind: 'make'; readonly path: string }
  | { readonly kind: 'unmake'; readonly path: string }
  | { readonly kind: 'rename'; readonly from: string; readonly path: string; readonly file: SimulatedFile };

class Names {
  readonly files = new Map<string, SimulatedFile>();
  readonly directories = new Set<string>(['']);

  apply(change: DirectoryChange): void {
    if (change.kind === 'make') this.directories.add(change.path);
    else if (change.kind === 'unmake') this.directories.delete(change.path);
    else if (change.kind === 'unlink') this.files.delete(change.path);
    else this.files.set(change.path, change.file);
    if (
      change.kind === 'rename' &&
      this.files.get(change.from) === change.file &&
      change.from !== change.path
    ) {
      this.files.delete(change.from);
    }
  }

  copy(): Names {
    const names = new Names();
    for (const [path, file] of this.files) names.files.set(path, file);
    for (const directory of this.directories) names.directories.add(directory);
    return names;
  }

  /** Removes what lies in a directory that was lost. */
  dropOrphans(): void {
    const isReachable = (path: string): boolean =>
      path === '' || (this.directories.has(parentOf(path)) && isReachable(parentOf(path)));
    for (const path of this.files.keys()) if (!isReachable(path)) this.files.delete(path);
    for (const path of this.directories) if (!isReachable(path)) this.directories.delete(path);
  }
}

/** An error as a Disk gives it. */
export function diskError(code: string, message: string): DiskError {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0));
}
