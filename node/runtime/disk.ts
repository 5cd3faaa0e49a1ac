/**
 * Files as the program sees them. Paths are relative to the root that the adapter
 * was made for, with `/` between their parts.
 *
 * What a crash of the machine may do, and so what a user of this port must expect:
 *  - bytes written and not yet synced may be lost, in any subset of 512-byte sectors;
 *    a sector is written whole or not at all;
 *  - a file created, renamed or removed and whose directory was not synced may be
 *    found as before.
 * After a failed write or sync the state of the file is unknown; the only safe
 * answer is to stop the process (the kernel may have dropped the pages).
 */
export interface Disk {
  /** Opens a file for reading and writing. `create` makes a new one and fails with EEXIST if there is one. */
  open(path: string, mode: 'existing' | 'create'): Promise<DiskFile>;
  /** Whole content of a file; ENOENT if it does not exist. */
  read(path: string): Promise<Uint8Array>;
  /** Names (not paths) in a directory, sorted; empty if the directory does not exist. */
  list(directory: string): Promise<string[]>;
  /** Makes a directory and its parents; nothing happens if it exists. */
  makeDirectory(directory: string): Promise<void>;
  /** Removes a file; nothing happens if it does not exist. */
  remove(path: string): Promise<void>;
  /** Removes a directory that is empty; nothing happens if it is not, or does not exist. */
  removeDirectory(directory: string): Promise<void>;
  /** Renames a file, replacing what is there. */
  rename(from: string, to: string): Promise<void>;
  /** Makes creations, renames and removals in a directory durable. `''` is the root. */
  syncDirectory(directory: string): Promise<void>;
  /** Bytes that can still be written. */
  freeBytes(): Promise<number>;
}

/** An open file. Calls may overlap; each is complete when its promise resolves. */
export interface DiskFile {
  /** Size in bytes. */
  size(): Promise<number>;
  /** Up to `length` bytes from `position`; fewer only at the end of the file. */
  read(position: number, length: number): Promise<Uint8Array>;
  /** Writes all of `data` at `position`, extending the file if needed. Not durable until `sync`. */
  write(position: number, data: Uint8Array): Promise<void>;
  /** Writes all of `data` at `position` and makes it durable: `write` and `sync` in one. */
  writeDurably(position: number, data: Uint8Array): Promise<void>;
  /** Makes all completed writes durable, the file's size too (fdatasync). */
  sync(): Promise<void>;
  /** Cuts or extends (with zeros) the file. Not durable until `sync`. */
  truncate(size: number): Promise<void>;
  /** Closes the file; does not sync. */
  close(): Promise<void>;
}

/** An error of a Disk carries the usual `code`: ENOENT, EEXIST, ENOSPC, EIO, EACCES, EROFS. */
export interface DiskError extends Error {
  code: string;
}
