/** A small file system of its own, in memory: for what needs a full or read-only disk. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class SmallMount implements Disposable {
  readonly path: string;

  constructor(size: string) {
    this.path = mkdtempSync(join(tmpdir(), 'holdfast-mount-'));
    mount('-t', 'tmpfs', '-o', `size=${size},mode=0755`, 'holdfast-test', this.path);
  }

  /** From now on nothing can be written, or it can be again. */
  setReadOnly(isReadOnly: boolean): void {
    mount('-o', `remount,${isReadOnly ? 'ro' : 'rw'}`, this.path);
  }

  [Symbol.dispose](): void {
    execFileSync('umount', [this.path], { stdio: 'pipe' });
    rmSync(this.path, { recursive: true, force: true });
  }
}

function mount(...args: string[]): void {
  execFileSync('mount', args, { stdio: 'pipe' });
}

function findObstacle(): string | undefined {
  if (process.platform !== 'linux')
    return `file systems are mounted on Linux only, this is ${process.platform}`;
  if (process.getuid?.() !== 0) return 'only root may mount a file system';
  try {
    new SmallMount('1m')[Symbol.dispose]();
    return undefined;
  } catch (error) {
    return `mounting a tmpfs fails here: ${(error as Error).message.trim()}`;
  }
}

/** Why no file system can be mounted here; undefined: it can. */
export const CANNOT_MOUNT = findObstacle();
