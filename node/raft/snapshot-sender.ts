/**
 * Gives followers that lack entries the log no longer has the rows instead: offers a
 * snapshot, and serves its parts as they are asked for. The rows are read from one
 * iterator over the store, while the group goes on.
 *
 *  1. What is sent is the store as of exactly the entry that the offer names.
 *  2. No iterator is held for longer than `IDLE_MS` without a request: an open one keeps
 *     old versions on disk.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import type { GroupSnapshot, RowStore } from '../storage/row-store.ts';
import type { InstallSnapshot } from './core/messages.ts';
import type { GroupReplica } from './group-replica.ts';
import { encodePart, type SnapshotRequest } from './snapshot-parts.ts';

/** Snapshots on their way at once: each costs reads of the disk. */
const MAX_SESSIONS = 4;
const IDLE_MS = 10_000;
const ROWS_AT_ONCE = 256;
const PART_BYTES = 256 * 1024;

export interface SnapshotSenderOptions {
  readonly rows: RowStore;
  readonly clock: Clock;
  readonly offer: (group: number, message: InstallSnapshot) => void;
  readonly send: (to: number, part: Uint8Array) => void;
  /** The group's core was told something. */
  readonly wake: (replica: GroupReplica) => void;
  readonly onFailure: (error: unknown) => void;
}

interface Session {
  readonly replica: GroupReplica;
  readonly follower: number;
  readonly message: InstallSnapshot;
  readonly snapshot: GroupSnapshot;
  timer: Timer;
  /** The last part that was made, to be sent again when it was lost. */
  part: number;
  bytes: Uint8Array | undefined;
  isLast: boolean;
  isReading: boolean;
}

export class SnapshotSender {
  readonly #options: SnapshotSenderOptions;
  readonly #sessions = new Map<string, Session>();
  /** Those whose rows are about to be opened. */
  readonly #opening = new Map<string, GroupReplica>();
  #sent = 0;

  constructor(options: SnapshotSenderOptions) {
    this.#options = options;
  }

  /** Snapshots that a follower has got whole. */
  get sent(): number {
    return this.#sent;
  }

  /** A follower needs a snapshot. */
  start(replica: GroupReplica, follower: number): void {
    const key = keyOf(replica.group, follower);
    const isKnown = this.#sessions.has(key) || this.#opening.has(key);
    if (isKnown || this.#sessions.size + this.#opening.size >= MAX_SESSIONS) {
      replica.core.reportSnapshot(follower, false);
      return;
    }
    this.#opening.set(key, replica);
    this.#open(replica, follower, key).catch((error: unknown) => {
      this.#opening.delete(key);
      this.#options.onFailure(error);
    });
  }

  /** A follower asks for a part. */
  async serve(from: number, request: SnapshotRequest): Promise<void> {
    const session = this.#sessions.get(keyOf(request.group, from));
    if (session === undefined || session.isReading) return;
    const { index, term } = session.message.snapshot;
    if (request.index !== index || request.term !== term) return;
    session.timer.cancel();
    session.timer = this.#idleTimer(session);
    if (request.part === session.part + 1) {
      if (session.isLast) return this.#end(session, true);
      await this.#read(session);
    }
    if (request.part === session.part && session.bytes !== undefined) this.#options.send(from, session.bytes);
  }

  /** Ends everything that concerns a group, or all groups. */
  stop(group?: number): void {
    for (const session of this.#sessions.values())
      if (group === undefined || session.replica.group === group) this.#end(session, false);
    for (const [key, replica] of this.#opening)
      if (group === undefined || replica.group === group) this.#opening.delete(key);
  }

  async #open(replica: GroupReplica, follower: number, key: string): Promise<void> {
    const snapshot = await this.#options.rows.openSnapshot(replica.group);
    const { index, stampMs, generation } = snapshot.applied;
    const isWanted = this.#opening.get(key) === replica && generation === replica.generation;
    if (this.#opening.get(key) === replica) this.#opening.delete(key);
    const message = isWanted ? replica.core.snapshotFor(follower, index, stampMs) : undefined;
    if (message === undefined) {
      await snapshot.close();
      replica.core.reportSnapshot(follower, false);
      this.#options.wake(replica);
      return;
    }
    const session: Session = {
      replica,
      follower,
      message,
      snapshot,
      timer: { cancel: () => undefined },
      part: -1,
      bytes: undefined,
      isLast: false,
      isReading: false,
    };
    session.timer = this.#idleTimer(session);
    this.#sessions.set(key, session);
    this.#options.offer(replica.group, message);
  }

  /** Makes the next part. Invariant 1. */
  async #read(session: Session): Promise<void> {
    session.isReading = true;
    try {
      const rows = [];
      let bytes = 0;
      while (bytes < PART_BYTES && !session.isLast) {
        const more = await session.snapshot.next(ROWS_AT_ONCE);
        if (!this.#isOpen(session)) return; // its iterator is closed
        for (const [rest, content] of more) bytes += rest.length + content.byteLength;
        rows.push(...more);
        session.isLast = more.length === 0;
      }
      session.part++;
      const { group } = session.replica;
      const { index, term } = session.message.snapshot;
      session.bytes = encodePart({ group, index, term, part: session.part, isLast: session.isLast, rows });
    } catch (error) {
      if (!this.#isOpen(session)) return;
      this.#end(session, false);
      this.#options.onFailure(error);
    } finally {
      session.isReading = false;
    }
  }

  #isOpen(session: Session): boolean {
    return this.#sessions.get(keyOf(session.replica.group, session.follower)) === session;
  }

  /** Invariant 2. */
  #idleTimer(session: Session): Timer {
    return this.#options.clock.setTimer(IDLE_MS, () => this.#end(session, false));
  }

  #end(session: Session, isDelivered: boolean): void {
    const { replica, follower } = session;
    session.timer.cancel();
    if (!this.#sessions.delete(keyOf(replica.group, follower))) return;
    session.bytes = undefined;
    if (isDelivered) this.#sent++;
    session.snapshot.close().catch((error: unknown) => this.#options.onFailure(error));
    replica.core.reportSnapshot(follower, isDelivered);
    this.#options.wake(replica);
  }
}

function keyOf(group: number, follower: number): string {
  return `${group}/${follower}`;
}
