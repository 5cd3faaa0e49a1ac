import * as fs from 'node:fs';
import { join } from 'node:path';
import type { Disk, DiskFile } from './disk.ts';
import { InlineWrites } from './inline-writes.ts';

/**
 * Files below a directory of this machine. It works on file descriptors through the
 * callback functions of `node:fs`, which cost less than its promise functions. Paths come
 * from the program itself and are not checked for `..`.
 */
export class FileDisk implements Disk {
  readonly #root: string;
  readonly #inline = new InlineWrites();

  /** `root` must exist. */
  constructor(root: string) {
    this.#root = root;
  }

  async open(path: string, mode: 'existing' | 'create'): Promise<DiskFile> {
    const flags = mode === 'create' ? 'wx+' : 'r+';
    const descriptor = await done<number>((end) => fs.open(this.#at(path), flags, 0o600, end));
    return new FileDiskFile(this.#at(path), descriptor, this.#inline);
  }

  read(path: string): Promise<Uint8Array> {
    return done<Uint8Array>((end) => fs.readFile(this.#at(path), end));
  }

  async list(directory: string): Promise<string[]> {
    const names = done<string[]>((end) => fs.readdir(this.#at(directory), end));
    return (await names.catch(unlessMissing([]))).sort();
  }

  async makeDirectory(directory: string): Promise<void> {
    await done<unknown>((end) => fs.mkdir(this.#at(directory), { recursive: true, mode: 0o700 }, end));
  }

  async remove(path: string): Promise<void> {
    await done<unknown>((end) => fs.unlink(this.#at(path), end)).catch(unlessMissing(undefined));
  }

  async removeDirectory(directory: string): Promise<void> {
    await done<unknown>((end) => fs.rmdir(this.#at(directory), end)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTEMPTY') throw error;
    });
  }

  async rename(from: string, to: string): Promise<void> {
    await done<unknown>((end) => fs.rename(this.#at(from), this.#at(to), end));
  }

  async syncDirectory(directory: string): Promise<void> {
    const descriptor = await done<number>((end) => fs.open(this.#at(directory), 'r', end));
    try {
      await done<unknown>((end) => fs.fsync(descriptor, end));
    } finally {
      await done<unknown>((end) => fs.close(descriptor, end));
    }
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await done<fs.StatsFs>((end) => fs.statfs(this.#root, end));
    return bavail * bsize;
  }

  #at(path: string): string {
    return join(this.#root, path);
  }
}

class FileDiskFile implements DiskFile {
  readonly #path: string;
  readonly #descriptor: number;
  readonly #inline: InlineWrites;
  /** The same file, opened so that a write returns when it is on disk; from the first such write on. */
  #durable: Promise<number> | undefined;
  /** Durable writes under way: their descriptor must not be closed, and given to another file, before. */
  #writing: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(path: string, descriptor: number, inline: InlineWrites) {
    this.#path = path;
    this.#descriptor = descriptor;
    this.#inline = inline;
  }

  async size(): Promise<number> {
    const { size } = await this.#call<fs.Stats>((fd, end) => fs.fstat(fd, end));
    return size;
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    // Not from the shared pool: a row that is kept must not keep a pool alive with it.
    const bytes = Buffer.allocUnsafeSlow(length);
    let filled = 0;
    while (filled < length) {
      const read = await this.#call<number>((fd, end) =>
        fs.read(fd, bytes, filled, length - filled, position + filled, end),
      );
      if (read === 0) break;
      filled += read;
    }
    return bytes.subarray(0, filled);
  }

  write(position: number, data: Uint8Array): Promise<void> {
    return this.#writeTo(this.#descriptor, position, data);
  }

  async writeDurably(position: number, data: Uint8Array): Promise<void> {
    // One trip to the thread pool instead of two: each costs as much as a fast disk's sync.
    this.#durable ??= this.#call((_, end) =>
      fs.open(this.#path, fs.constants.O_WRONLY | fs.constants.O_DSYNC, end),
    );
    const descriptor = await this.#durable;
    if (this.#isClosed) throw closedError();
    const started = performance.now();
    if (!this.#inline.allows(data.length)) {
      const writing = this.#writeTo(descriptor, position, data);
      this.#writing = Promise.allSettled([this.#writing, writing]);
      await writing;
      this.#inline.notePooled(data.length, performance.now() - started);
      return;
    }
    let written = 0;
    while (written < data.length)
      written += fs.writeSync(descriptor, data, written, data.length - written, position + written);
    this.#inline.note(performance.now() - started);
  }

  async sync(): Promise<void> {
    await this.#call<unknown>((fd, end) => fs.fdatasync(fd, end));
  }

  async truncate(size: number): Promise<void> {
    await this.#call<unknown>((fd, end) => fs.ftruncate(fd, size, end));
  }

  async close(): Promise<void> {
    const closing = this.#call<unknown>((fd, end) => fs.close(fd, end));
    this.#isClosed = true;
    const durable = await this.#durable?.catch(() => undefined);
    await this.#writing;
    if (durable !== undefined) await done<unknown>((end) => fs.close(durable, end));
    await closing;
  }

  async #writeTo(descriptor: number, position: number, data: Uint8Array): Promise<void> {
    let written = 0;
    while (written < data.length) {
      written += await this.#call<number>((_, end) =>
        fs.write(descriptor, data, written, data.length - written, position + written, end),
      );
    }
  }

  /** The system gives a closed descriptor's number to the next file: a late call would hit that one. */
  #call<T>(start: (descriptor: number, end: Callback<T>) => void): Promise<T> {
    if (this.#isClosed) return Promise.reject(closedError());
    return done((end) => start(this.#descriptor, end));
  }
}

function closedError(): Error {
  return Object.assign(new Error('EBADF: file is closed'), { code: 'EBADF' });
}

type Callback<T> = (error: Error | null, value?: T) => void;

function done<T>(start: (end: Callback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error === null || error === undefined ? resolve(value as T) : reject(error)));
  });
}

function unlessMissing<T>(value: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code === 'ENOENT') return value;
    throw error;
  };
}
