/**
 * What must hold at every moment of a run, whatever the faults: watches all replicas and
 * throws a `CheckFailure` that names the check.
 */
import { encodeConfiguration } from '../../node/raft/core/configuration.ts';
import { EntryKind, entryBytes, type Entry } from '../../node/raft/core/entry.ts';
import type { Message } from '../../node/raft/core/messages.ts';
import type { Ready, ReadState } from '../../node/raft/core/ready.ts';
import type { RaftSettings } from '../../node/raft/core/settings.ts';
import { CheckFailure } from './check-failure.ts';
import { applied, type CoreDisk, type CoreHost } from './core-host.ts';

interface KnownEntry {
  readonly entry: Entry;
  readonly prevTerm: number;
}

export class CoreChecks {
  readonly #settings: RaftSettings;
  /** Leader of each term. */
  readonly #leaders = new Map<number, number>();
  /** Every entry ever taken to be written, by index and term. */
  readonly #known = new Map<string, KnownEntry>();
  /** What was committed, by index, and a term by which it was; and the machine's checksum after it. */
  readonly #committed: { readonly entry: Entry; readonly byTerm: number }[] = [];
  readonly #checksums: number[] = [];
  /** Commit index of each process, and the log as it will be when all its writes are done. */
  readonly #processes = new WeakMap<CoreHost, { committed: number; log: Map<number, number> }>();
  /** Everything up to here was answered to somebody. */
  #floor = 0;
  readonly #readFloors = new Map<number, number>();

  constructor(settings: RaftSettings) {
    this.#settings = settings;
  }

  /** Entries cut off on any replica. */
  truncated = 0;

  get terms(): number {
    return this.#leaders.size;
  }

  get committedCount(): number {
    return this.#committed.length;
  }

  committedAt(index: number): Entry | undefined {
    return this.#committed[index]?.entry;
  }

  /** A process begins. */
  onStart(host: CoreHost): void {
    const log = new Map(host.disk.entries.map(({ index, term }) => [index, term]));
    log.set(host.disk.base.index, host.disk.base.term);
    this.#processes.set(host, { committed: host.core.status.committed, log });
  }

  onReady(host: CoreHost, ready: Ready): void {
    const process = this.#processes.get(host)!;
    if (ready.write?.snapshot !== undefined) {
      process.log.clear();
      process.log.set(ready.write.snapshot.index, ready.write.snapshot.term);
    }
    const { truncated } = this;
    for (const entry of ready.write?.entries ?? []) this.#noteEntry(host, process.log, entry);
    if (this.truncated > truncated) this.#checkTruncated(host, process.log);
    this.#checkStatus(host, process);
    this.#checkApplying(host, ready);
    if (ready.roleChange?.role === 'leader') this.#onLeader(host, process.log);
  }

  /** Persisted before sent; see `RaftCore`, invariant 2. */
  onSend(host: CoreHost, message: Message): void {
    const { disk } = host;
    const holds = (condition: boolean, what: string) => {
      if (!condition)
        throw new CheckFailure('durable before sent', `${host.id} ${what}: ${JSON.stringify(message)}`);
    };
    const { term, vote } = disk.hardState;
    const hasVote = (forWhom: number) => term > message.term || (term === message.term && vote === forWhom);
    if (message.type === 'vote') holds(hasVote(host.id), 'asks for votes before its own is durable');
    if (message.type === 'vote' && term === message.term) {
      holds(
        termOnDisk(disk, message.lastIndex) === message.lastTerm,
        'asks for votes with a log that is not durable',
      );
    }
    if (message.type === 'voteResponse' && message.granted)
      holds(hasVote(message.to), 'votes before that is durable');
    if (message.type === 'appendAccepted') {
      holds(disk.base.index + disk.entries.length >= message.index, 'acknowledges what is not durable');
      holds(term >= message.term, 'acknowledges in a term that is not durable');
    }
    if (message.type === 'append' || message.type === 'heartbeat') {
      holds(term >= message.term, 'leads a term that is not durable');
    }
  }

  onApplied(host: CoreHost, entry: Entry): void {
    const { index } = entry;
    if (index !== host.machine.index + 1)
      throw new CheckFailure('applied in order', `${host.id} applies ${index} after ${host.machine.index}`);
    if (termOnDisk(host.disk, index) !== entry.term)
      throw new CheckFailure('applied when durable', `${host.id} applies ${index}, which is not on its disk`);
    if (entry.stampMs < host.machine.stampMs)
      throw new CheckFailure('log time', `${host.id}: ${entry.stampMs} after ${host.machine.stampMs}`);
    this.#onCommitted(host, entry);
    const { checksum } = applied(host.machine, entry);
    this.#checksums[index] ??= checksum;
    if (this.#checksums[index] !== checksum)
      throw new CheckFailure('equal state', `${host.id} differs from others after ${index}`);
  }

  /** A proposer was told that its entry, at this index, is applied. */
  onAcknowledged(index: number): void {
    this.#floor = Math.max(this.#floor, index);
  }

  onReadAsked(context: number): void {
    this.#readFloors.set(context, this.#floor);
  }

  /** A read sees everything that was answered to anybody before it was asked. */
  onRead(host: CoreHost, { context }: ReadState): void {
    const floor = this.#readFloors.get(context);
    if (floor === undefined) throw new CheckFailure('reads answered once', `read ${context} on ${host.id}`);
    if (host.machine.index < floor)
      throw new CheckFailure(
        'linearizable reads',
        `${host.id} serves at ${host.machine.index} what was at ${floor}`,
      );
    this.#readFloors.delete(context);
    this.#floor = Math.max(this.#floor, host.machine.index);
  }

  onReadDropped(context: number): void {
    this.#readFloors.delete(context);
  }

  /** Log matching: index and term name an entry, and with it the one before. */
  #noteEntry(host: CoreHost, log: Map<number, number>, entry: Entry): void {
    const { index, term } = entry;
    const prevTerm = log.get(index - 1);
    if (prevTerm === undefined)
      throw new CheckFailure('log matching', `${host.id} has a hole before ${index}`);
    const known = this.#known.get(`${index}/${term}`);
    if (known === undefined) this.#known.set(`${index}/${term}`, { entry, prevTerm });
    else if (known.prevTerm !== prevTerm || !sameEntry(known.entry, entry))
      throw new CheckFailure('log matching', `${host.id} has another entry ${index} of term ${term}`);
    for (let at = index; log.delete(at); at++) this.truncated++;
    log.set(index, term);
    if (entry.kind === EntryKind.configuration) this.#checkConfiguration(host, entry);
  }

  /** What was cut off took its configurations with it. */
  #checkTruncated(host: CoreHost, log: ReadonlyMap<number, number>): void {
    const { configuration, lastIndex } = host.core.status;
    for (let index = lastIndex; log.has(index); index--) {
      const entry = this.#known.get(`${index}/${log.get(index)}`)?.entry;
      if (entry?.kind !== EntryKind.configuration) continue;
      if (Buffer.compare(entry.payload, encodeConfiguration(configuration)) !== 0)
        throw new CheckFailure(
          'configuration of the log',
          `${host.id} follows another than that of ${index}`,
        );
      return;
    }
  }

  #checkApplying({ id, unapplied }: CoreHost, { committed }: Ready): void {
    let bytes = 0;
    for (const entry of [...unapplied, ...committed]) bytes += entryBytes(entry);
    if (bytes > this.#settings.maxApplyingBytes + 200)
      throw new CheckFailure('memory bounds', `${id} has ${bytes} bytes to apply`);
  }

  /** One change at a time; a joint configuration is left only when it is committed. */
  #checkConfiguration(host: CoreHost, entry: Entry): void {
    if (!host.core.isLeader || entry.term !== host.core.term) return;
    const process = this.#processes.get(host)!;
    const before = [...process.log].filter(([index]) => index < entry.index).sort(([a], [b]) => b - a);
    for (const [index, term] of before) {
      const earlier = this.#known.get(`${index}/${term}`)?.entry;
      if (earlier?.kind !== EntryKind.configuration) continue;
      if (index > host.core.status.committed)
        throw new CheckFailure(
          'one change at a time',
          `${host.id} begins one at ${entry.index}, ${index} is not committed`,
        );
      return;
    }
  }

  #checkStatus(host: CoreHost, process: { committed: number; log: Map<number, number> }): void {
    const { committed, uncommittedBytes, followers, unstableCount, lastIndex, durable } = host.core.status;
    if (committed < process.committed)
      throw new CheckFailure('commit never falls', `${host.id}: ${committed} after ${process.committed}`);
    for (let index = process.committed + 1; index <= committed; index++) {
      const known = this.#known.get(`${index}/${process.log.get(index)}`);
      if (known !== undefined) this.#onCommitted(host, known.entry);
    }
    process.committed = committed;
    if (uncommittedBytes > this.#settings.maxUncommittedBytes + 4096)
      throw new CheckFailure('memory bounds', `${host.id} has ${uncommittedBytes} bytes uncommitted`);
    if (durable >= host.core.status.baseIndex && unstableCount > lastIndex - durable)
      throw new CheckFailure('memory bounds', `${host.id} keeps ${unstableCount} entries that are durable`);
    for (const [follower, { match, next }] of followers) {
      if (match >= next)
        throw new CheckFailure('progress', `${host.id}: match ${match}, next ${next} of ${follower}`);
    }
  }

  /** One leader a term, and it has everything that is committed. */
  #onLeader(host: CoreHost, log: ReadonlyMap<number, number>): void {
    const { term, id } = host.core;
    const other = this.#leaders.get(term);
    if (other !== undefined && other !== id)
      throw new CheckFailure('one leader a term', `${other} and ${id} in ${term}`);
    this.#leaders.set(term, id);
    const { baseIndex } = host.core.status;
    for (let index = this.#committed.length - 1; index > baseIndex; index--) {
      const committed = this.#committed[index];
      if (committed === undefined || committed.byTerm >= term) continue;
      if (log.get(index) !== committed.entry.term)
        throw new CheckFailure('leader completeness', `${id} leads term ${term} without entry ${index}`);
    }
  }

  #onCommitted(host: CoreHost, entry: Entry): void {
    const known = this.#committed[entry.index];
    if (known === undefined) this.#committed[entry.index] = { entry, byTerm: host.core.term };
    else if (!sameEntry(known.entry, entry))
      throw new CheckFailure('state machine safety', `${host.id} commits another entry at ${entry.index}`);
  }
}

function termOnDisk({ base, entries }: CoreDisk, index: number): number | undefined {
  return index === base.index ? base.term : entries[index - base.index - 1]?.term;
}

function sameEntry(a: Entry, b: Entry): boolean {
  if (a === b) return true;
  return (
    a.term === b.term &&
    a.kind === b.kind &&
    a.stampMs === b.stampMs &&
    Buffer.compare(a.payload, b.payload) === 0
  );
}
