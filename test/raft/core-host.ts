/**
 * Hosts one `RaftCore` as a node would, on a disk and a state machine made of arrays.
 * Nothing happens by itself: who drives it says when a write completes, when entries are
 * applied, when the machine's state reaches its store, and when the process dies.
 */
import { NO_CONFIGURATION } from '../../node/raft/core/configuration.ts';
import type { Entry } from '../../node/raft/core/entry.ts';
import type { InstallSnapshot, Message } from '../../node/raft/core/messages.ts';
import type { HardState } from '../../node/raft/core/pending-writes.ts';
import { RaftCore } from '../../node/raft/core/raft-core.ts';
import type { SnapshotPoint } from '../../node/raft/core/raft-log.ts';
import type { Ready, ReadState, Write } from '../../node/raft/core/ready.ts';
import type { RaftSettings } from '../../node/raft/core/settings.ts';
import { CheckFailure } from './check-failure.ts';

/** A state machine that remembers what it was given, as a checksum. */
export interface MachineState {
  readonly index: number;
  readonly term: number;
  readonly stampMs: number;
  readonly checksum: number;
}

/** What survives a crash. */
export interface CoreDisk {
  hardState: HardState;
  base: SnapshotPoint;
  /** Entries after the base. */
  entries: Entry[];
  stored: MachineState;
}

/** What happens to a host, for checkers and transcripts. */
export interface HostEvents {
  /** A message leaves; the disk is as it is at this moment. */
  onSend(host: CoreHost, message: Message): void;
  onReady?(host: CoreHost, ready: Ready): void;
  onPersisted?(host: CoreHost, write: Write): void;
  onApplied?(host: CoreHost, entry: Entry): void;
  onRead?(host: CoreHost, read: ReadState): void;
  onReadDropped?(host: CoreHost, context: number): void;
  /** A follower needs the rows as they are now. */
  onSnapshot(host: CoreHost, message: InstallSnapshot, rows: MachineState): void;
}

export interface CoreHostOptions {
  readonly id: number;
  readonly disk: CoreDisk;
  readonly random: () => number;
  readonly settings: Partial<RaftSettings>;
  readonly events: HostEvents;
  /** Whether the entries asked for are at hand. Default: always. */
  readonly isAtHand?: () => boolean;
}

export class CoreHost {
  readonly id: number;
  readonly disk: CoreDisk;
  readonly core: RaftCore;
  readonly #events: HostEvents;
  readonly #isAtHand: () => boolean;
  /** Taken from the core, not on the disk yet, oldest first. */
  writes: Write[] = [];
  /** Handed out by the core, not applied yet. */
  unapplied: Entry[] = [];
  machine: MachineState;
  #waitingReads: ReadState[] = [];
  /** Rows that came with a snapshot, by the snapshot's index and term. */
  readonly #received = new Map<string, MachineState>();

  constructor(options: CoreHostOptions) {
    const { id, disk, random, settings, events } = options;
    this.id = id;
    this.disk = disk;
    this.#events = events;
    this.#isAtHand = options.isAtHand ?? (() => true);
    this.machine = disk.stored;
    this.core = new RaftCore({
      id,
      settings,
      random,
      hardState: disk.hardState,
      log: { base: disk.base, applied: disk.stored.index, entries: disk.entries },
      source: { read: (first, last, maxBytes) => this.#read(first, last, maxBytes) },
    });
  }

  /** Takes what the core has to be done; returns whether there was something. */
  turn(): boolean {
    const ready = this.core.takeReady();
    if (ready === undefined) return false;
    this.#events.onReady?.(this, ready);
    for (const message of ready.messages) this.#events.onSend(this, message);
    if (ready.write !== undefined) this.writes.push(ready.write);
    this.unapplied.push(...ready.committed);
    this.#waitingReads.push(...ready.reads);
    for (const context of ready.droppedReads) this.#events.onReadDropped?.(this, context);
    for (const follower of ready.snapshotsWanted) this.#sendSnapshot(follower);
    this.#serveReads();
    return true;
  }

  /** The first `count` writes reach the disk, together. */
  persist(count = this.writes.length): void {
    const done = this.writes.splice(0, count);
    if (done.length === 0) return;
    for (const write of done) {
      this.#store(write);
      this.#events.onPersisted?.(this, write);
      for (const message of write.messages) this.#events.onSend(this, message);
    }
    this.core.onPersisted(done.at(-1)!.sequence);
    this.#serveReads();
  }

  /** Up to `count` entries are applied. */
  apply(count = this.unapplied.length): void {
    const entries = this.unapplied.splice(0, count);
    if (entries.length === 0) return;
    for (const entry of entries) {
      this.#events.onApplied?.(this, entry);
      this.machine = applied(this.machine, entry);
    }
    this.core.onApplied(this.machine.index);
    this.#serveReads();
  }

  /** The machine's state reaches its store. */
  flush(): void {
    this.disk.stored = this.machine;
  }

  /** The log up to `index` goes, as far as the store has it. */
  compact(index: number): void {
    if (index > this.disk.stored.index || index <= this.disk.base.index) return;
    const point = this.core.snapshotPoint(
      index,
      this.disk.entries[index - this.disk.base.index - 1]!.stampMs,
    );
    if (point === undefined) return;
    this.disk.entries.splice(0, index - this.disk.base.index);
    this.disk.base = point;
    this.core.compact(index);
  }

  /** A snapshot has come with its rows. */
  receiveSnapshot(message: InstallSnapshot, rows: MachineState): void {
    this.#received.set(`${message.snapshot.index}/${message.snapshot.term}`, rows);
    this.core.step(message);
  }

  /** The process dies: the first `count` writes had reached the disk, nobody was told. */
  crash(count: number): void {
    for (const write of this.writes.slice(0, count)) this.#store(write);
    this.writes = [];
  }

  #store({ hardState, snapshot, entries }: Write): void {
    const { disk } = this;
    if (hardState !== undefined) disk.hardState = hardState;
    if (snapshot !== undefined) {
      disk.base = snapshot;
      disk.entries = [];
      disk.stored = this.#received.get(`${snapshot.index}/${snapshot.term}`)!;
      this.machine = disk.stored;
      this.unapplied = [];
    }
    if (entries.length === 0) return;
    disk.entries.length = entries[0]!.index - disk.base.index - 1;
    disk.entries.push(...entries);
  }

  #read(first: number, last: number, maxBytes: number): readonly Entry[] | undefined {
    if (!this.#isAtHand()) return undefined;
    const { base, entries } = this.disk;
    const found: Entry[] = [];
    let bytes = 0;
    for (let index = first; index <= last; index++) {
      const entry = entries[index - base.index - 1];
      if (entry === undefined) throw new CheckFailure('durable entries', `${this.id} has no entry ${index}`);
      bytes += 32 + entry.payload.byteLength;
      if (bytes > maxBytes && found.length > 0) break;
      found.push(entry);
    }
    return found;
  }

  #sendSnapshot(follower: number): void {
    const { index, stampMs } = this.machine;
    const message = this.core.snapshotFor(follower, index, stampMs);
    if (message === undefined) this.core.reportSnapshot(follower, false);
    else this.#events.onSnapshot(this, message, this.machine);
  }

  #serveReads(): void {
    if (this.#waitingReads.length === 0) return;
    const served = this.#waitingReads.filter(({ index }) => index <= this.machine.index);
    this.#waitingReads = this.#waitingReads.filter(({ index }) => index > this.machine.index);
    for (const read of served) this.#events.onRead?.(this, read);
  }
}

/** The machine after one more entry. */
export function applied(machine: MachineState, entry: Entry): MachineState {
  const { index, term, stampMs } = entry;
  let checksum = Math.imul(machine.checksum ^ entry.kind ^ Math.imul(index, 31) ^ term, 0x01000193);
  for (const byte of entry.payload) checksum = Math.imul(checksum ^ byte, 0x01000193);
  return { index, term, stampMs, checksum };
}

/** The disk of a replica that belongs to the group from the beginning. */
export function initialDisk(voters: readonly number[], learners: readonly number[] = []): CoreDisk {
  const configuration = { voters, outgoing: [], learners };
  return diskAt({ index: 0, term: 0, stampMs: 0, configuration });
}

/** The disk of a replica that is yet to be added. */
export function emptyDisk(): CoreDisk {
  return diskAt({ index: 0, term: 0, stampMs: 0, configuration: NO_CONFIGURATION });
}

function diskAt(base: SnapshotPoint): CoreDisk {
  return {
    hardState: { term: 0, vote: 0 },
    base,
    entries: [],
    stored: { index: base.index, term: base.term, stampMs: base.stampMs, checksum: 0 },
  };
}
