/**
 * What groups keep in files of their own, beside their rows: the records of a topic's partition
 * are too many for the ordered store. The row store asks at each of its flushes that the files
 * are at least as far as the rows, so that a crash never leaves rows that speak of what is in no
 * file; what the files have beyond, replay writes again.
 */
import type { SnapshotRow } from './row-store.ts';

/** A flush of the row store, seen from the files. */
export interface FilesFlush {
  /** Resolves when everything that was applied before the flush began is durable. Rejects: the disk failed. */
  readonly synced: Promise<void>;
  /** The rows of the flush are durable: files that they do not speak of any more may go. */
  stored(): void;
}

/** A group's files as of one moment, for a snapshot. */
export interface FilesSnapshot {
  /** Further pieces, in the form of rows of the family `FILE_FAMILY`; empty at the end. */
  next(): Promise<readonly SnapshotRow[]>;
  close(): Promise<void>;
}

export interface GroupFiles {
  /** Bytes applied and not yet in files. */
  readonly pendingBytes: number;
  /** Begins in one synchronous step: what is applied later is not part of it. */
  beginFlush(): FilesFlush;
  /** What a generation of a group has in files, by the rows that the store has of it; undefined: it has none. */
  openSnapshot(group: number, generation: number): Promise<FilesSnapshot | undefined>;
  /** Puts pieces of a snapshot into the files of a generation that nobody reads yet, durably. */
  add(group: number, generation: number, pieces: readonly SnapshotRow[]): Promise<void>;
  /** Removes the files of a generation; `undefined`: of all. */
  remove(group: number, generation: number | undefined): Promise<void>;
}

/** First character of pieces of files among the rows of a snapshot; no row has it. */
export const FILE_FAMILY = '\xff';
/** Bytes that start a flush of the row store. */
export const FILES_FLUSH_BYTES = 8 * 1024 * 1024;
/** Above this nothing is applied before a flush. */
export const FILES_LIMIT_BYTES = 64 * 1024 * 1024;

/** Of a node without any. */
export const NO_FILES: GroupFiles = {
  pendingBytes: 0,
  beginFlush: () => ({ synced: Promise.resolve(), stored: () => undefined }),
  openSnapshot: () => Promise.resolve(undefined),
  add: () => Promise.resolve(),
  remove: () => Promise.resolve(),
};
