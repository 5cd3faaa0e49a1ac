/**
 * Writes what all cores want written: one batch in the log at a time, and while it is being
 * written the next one gathers.
 *
 *  1. The writes of a core are durable in its order before it is told of them.
 *  2. After a failure nothing more is written.
 */
import type { LogRecord } from '../storage/log-format.ts';
import type { WriteAheadLog } from '../storage/write-ahead-log.ts';
import type { Write } from './core/ready.ts';
import type { GroupReplica } from './group-replica.ts';
import { writeRecords } from './log-records.ts';
import type { PeerMemory } from './peer-memory.ts';

/** A write that a core asked for. */
export interface PendingWrite {
  readonly replica: GroupReplica;
  readonly write: Write;
}

export interface LogWriterOptions {
  readonly log: WriteAheadLog;
  readonly memory: PeerMemory;
  readonly isPresent: (replica: GroupReplica) => boolean;
  /** All of these are durable. */
  readonly onWritten: (writes: readonly PendingWrite[]) => void;
  readonly onIdle: () => void;
  readonly onError: (error: unknown) => void;
}

export class LogWriter {
  readonly #options: LogWriterOptions;
  #records: LogRecord[] = [];
  #writes: PendingWrite[] = [];
  #isWriting = false;
  #isStopped = false;

  constructor(options: LogWriterOptions) {
    this.#options = options;
  }

  get isBusy(): boolean {
    return this.#isWriting || this.hasWork;
  }

  add(replica: GroupReplica, write: Write): void {
    this.#writes.push({ replica, write });
  }

  addRecord(record: LogRecord): void {
    this.#records.push(record);
  }

  /** Nothing more is written. Invariant 2. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Writes what there is, and what gathers meanwhile. */
  async run(): Promise<void> {
    if (this.#isWriting) return;
    this.#isWriting = true;
    try {
      while (this.hasWork && !this.#isStopped) await this.#writeBatch();
    } catch (error) {
      this.#options.onError(error);
    } finally {
      this.#isWriting = false;
      this.#options.onIdle();
    }
  }

  /** Whether something waits to be written. */
  get hasWork(): boolean {
    return this.#writes.length > 0 || this.#records.length > 0 || !this.#options.memory.isSettled;
  }

  /** Invariant 1. */
  async #writeBatch(): Promise<void> {
    const { log, memory, onWritten } = this.#options;
    const writes = this.#writes;
    const records = this.#takeRecords();
    if (records.length > 0) {
      await log.append(records);
      memory.noteWritten();
    }
    if (!this.#isStopped) onWritten(writes);
  }

  #takeRecords(): LogRecord[] {
    const { memory, isPresent } = this.#options;
    const writes = this.#writes;
    const records = this.#records;
    this.#writes = [];
    this.#records = [];
    for (const { replica, write } of writes) {
      if (!isPresent(replica)) continue;
      const rows = write.snapshot && replica.receivedRows(write.snapshot);
      writeRecords(replica.group, write, rows, records);
    }
    if (records.length > 0 || !memory.isSettled) memory.takeRecords(records);
    return records;
  }
}
