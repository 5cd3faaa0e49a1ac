/**
 * A topic's partition as a state machine: appends batches, and keeps beside them who produced
 * what and where groups are.
 *
 *   m  the log's bounds      p  producers, by id      g  offsets, by group
 *
 *  1. Offsets are given out once, in order, without gaps. Only what was committed by the Raft
 *     group gets one, so the end of the log is what may be read (Kafka's high watermark).
 *  2. A batch of a producer with an identity is appended once (producer-memory.ts).
 *  3. The generations that a group shows here only grow: a commit of a lower one is refused.
 *  4. The log's start only grows, and is never beyond its end. A compaction's epoch is one more
 *     than the last one's.
 *  5. What is refused has changed nothing.
 */
import { FIRST_EPOCH, PartitionBounds } from './partition-bounds.ts';
import { batchHeader, type BatchHeader } from './batch-check.ts';
import {
  COMMAND_VERSION,
  PartitionCommandKind,
  decodeClaim,
  decodeCommit,
  decodeCompact,
  decodeDeleteOffset,
  decodeForgetProducers,
  decodeSetOffset,
  decodeTrim,
  type ClaimOffset,
  type CommitOffset,
} from './partition-command.ts';
import {
  DONE,
  encodeOutcome,
  type OffsetState,
  type PartitionOutcome,
  type PartitionRefusal,
} from './partition-outcome.ts';
import type { MachineLog } from './partition-logs.ts';
import { ProducerMemory } from './producer-memory.ts';
import { StoredOffset } from './stored-offset.ts';
import type { Command } from '../raft/entry.ts';
import type { StateMachine } from '../raft/state-machine.ts';
import { groupPrefix, prefixEnd, type RowKey } from '../storage/row-key.ts';
import type { RowStore } from '../storage/row-store.ts';

/** The rows that a partition works on. */
export type PartitionRows = Pick<RowStore, 'get' | 'put' | 'delete' | 'live' | 'putLive' | 'range'>;

export interface PartitionMachineOptions {
  readonly group: number;
  readonly generation: number;
  readonly rows: PartitionRows;
  /** The files of this generation, whose records end where the rows say. */
  readonly openLog: (bounds: Readonly<PartitionBounds>) => MachineLog;
  /** The log has another end or start. */
  readonly onMoved: () => void;
}

/** A producer, for those who look which ones are silent. */
export interface KnownProducer {
  readonly id: number;
  readonly lastSeenMs: number;
}

export class PartitionMachine implements StateMachine {
  readonly log: MachineLog;
  readonly #rows: PartitionRows;
  readonly #prefix: RowKey;
  readonly #bounds: PartitionBounds;
  readonly #onMoved: () => void;

  constructor({ group, generation, rows, openLog, onMoved }: PartitionMachineOptions) {
    this.#rows = rows;
    this.#prefix = groupPrefix(group, generation);
    this.#bounds = rows.live(`${this.#prefix}m`, PartitionBounds.decode) ?? new PartitionBounds();
    this.#onMoved = onMoved;
    this.log = openLog(this.#bounds);
  }

  /** First offset that can be read. */
  get logStart(): number {
    return this.#bounds.start;
  }

  /** Offset that the next record will get. */
  get logEnd(): number {
    return this.#bounds.end;
  }

  /** Of the last compaction. */
  get compaction(): { readonly epoch: number; readonly upTo: number } {
    return { epoch: this.#bounds.epoch, upTo: this.#bounds.compactedTo };
  }

  /** Where a group is. */
  offsetOf(group: string): OffsetState {
    return this.#offset(group)?.state ?? NO_OFFSET;
  }

  /** Groups that have offsets here, after one. */
  async groups(after: string, limit: number): Promise<{ groups: string[]; more: boolean }> {
    const family = `${this.#prefix}g`;
    const start = after === '' ? family : `${family}${after}\0`;
    const { rows, more } = await this.#rows.range(start, prefixEnd(family), limit);
    return { groups: rows.map(([row]) => row.slice(family.length)), more };
  }

  /** Producers that the partition remembers, by id. */
  async producers(after: number, limit: number): Promise<{ producers: KnownProducer[]; more: boolean }> {
    const family = `${this.#prefix}p`;
    const { rows, more } = await this.#rows.range(
      `${producerRow(family, after)}\0`,
      prefixEnd(family),
      limit,
    );
    const producers = rows.map(([row, content]) => ({
      id: Number.parseInt(row.slice(family.length), 16),
      lastSeenMs: ProducerMemory.decode(content).lastSeenMs,
    }));
    return { producers, more };
  }

  onInstalled(): void {
    this.#onMoved();
  }

  apply(command: Command, stampMs: number): PartitionOutcome {
    const { kind, version, bytes } = command;
    if (version !== COMMAND_VERSION)
      throw new RangeError(`command ${kind} of unknown version ${version} of a partition`);
    switch (kind) {
      case PartitionCommandKind.append:
        return this.#append(
          bytes,
          (command.decoded as BatchHeader | undefined) ?? batchHeader(bytes),
          stampMs,
        );
      case PartitionCommandKind.commitOffset:
        return this.#commit(decodeCommit(bytes), stampMs);
      case PartitionCommandKind.claimOffset:
        return this.#claim(decodeClaim(bytes));
      case PartitionCommandKind.setOffset:
        return this.#set(decodeSetOffset(bytes), stampMs);
      case PartitionCommandKind.deleteOffset:
        this.#rows.delete(`${this.#prefix}g${decodeDeleteOffset(bytes).group}`);
        return DONE;
      case PartitionCommandKind.trim:
        return this.#trim(decodeTrim(bytes).start);
      case PartitionCommandKind.compact:
        return this.#compact(bytes);
      case PartitionCommandKind.forgetProducers:
        return this.#forget(bytes);
    }
    throw new RangeError(`unknown command ${kind} of a partition`);
  }

  /** What nodes propose by themselves is not taken from others: only who leads decides it. */
  parse({ kind, version, bytes }: Command): unknown {
    if (version !== COMMAND_VERSION) throw new RangeError(`version ${version} of a partition's command`);
    switch (kind) {
      case PartitionCommandKind.append:
        return batchHeader(bytes, 'checked');
      case PartitionCommandKind.commitOffset:
        return void decodeCommit(bytes);
      case PartitionCommandKind.claimOffset:
        return void decodeClaim(bytes);
      case PartitionCommandKind.setOffset:
        return void decodeSetOffset(bytes);
      case PartitionCommandKind.deleteOffset:
        return void decodeDeleteOffset(bytes);
    }
    throw new RangeError(`command ${kind} of a partition is not taken from other nodes`);
  }

  encodeResult(result: unknown): Uint8Array {
    return encodeOutcome(result as PartitionOutcome);
  }

  #append(batch: Uint8Array, header: BatchHeader, stampMs: number): PartitionOutcome {
    const { producerId, count } = header;
    const row = producerId === 0 ? undefined : producerRow(`${this.#prefix}p`, producerId);
    if (row !== undefined) {
      const known = this.#rows.live(row, ProducerMemory.decode) ?? ProducerMemory.begin(header.epoch);
      const verdict = known.judge(header); // invariant 2
      if (verdict.case === 'duplicate')
        return { case: 'appended', baseOffset: verdict.baseOffset, isDuplicate: true };
      if (verdict.case === 'fenced') return refused('PRODUCER_FENCED', header.epoch, 0);
      if (verdict.case === 'gap') return refused('SEQUENCE_GAP', header.sequence, verdict.expected);
      known.note(header, this.#bounds.end, stampMs);
      this.#rows.putLive(row, known);
    }
    const baseOffset = this.#bounds.end;
    this.log.append({ baseOffset, appendedAtMs: stampMs, batch });
    this.#bounds.end = baseOffset + count; // invariant 1
    this.#move();
    return { case: 'appended', baseOffset, isDuplicate: false };
  }

  /** Invariant 3. */
  #commit({ group, offset, generation, metadata }: CommitOffset, stampMs: number): PartitionOutcome {
    const stored = this.#offset(group) ?? new StoredOffset();
    if (generation < stored.generation) return refused('GENERATION_FENCED', generation, stored.generation);
    if (offset > this.#bounds.end) return refused('OFFSET_OUT_OF_RANGE', offset, this.#bounds.end);
    Object.assign(stored, { offset, generation, metadata, storedAtMs: stampMs });
    this.#rows.putLive(`${this.#prefix}g${group}`, stored);
    return DONE;
  }

  /** Invariant 3. */
  #claim({ group, generation }: ClaimOffset): PartitionOutcome {
    const stored = this.#offset(group) ?? new StoredOffset();
    if (generation === 0) return stored.state; // whoever only wants to know
    if (generation < stored.generation) return refused('GENERATION_FENCED', generation, stored.generation);
    if (generation > stored.generation) {
      stored.generation = generation;
      this.#rows.putLive(`${this.#prefix}g${group}`, stored);
    }
    return stored.state;
  }

  /** Members that are still at work by an older generation stay fenced. */
  #set({ group, offset }: Pick<CommitOffset, 'group' | 'offset'>, stampMs: number): PartitionOutcome {
    if (offset > this.#bounds.end) return refused('OFFSET_OUT_OF_RANGE', offset, this.#bounds.end);
    const stored = this.#offset(group) ?? new StoredOffset();
    Object.assign(stored, { offset, metadata: '', storedAtMs: stampMs });
    this.#rows.putLive(`${this.#prefix}g${group}`, stored);
    return DONE;
  }

  /** Invariant 4. */
  #trim(start: number): PartitionOutcome {
    if (start > this.#bounds.end) return refused('OFFSET_OUT_OF_RANGE', start, this.#bounds.end);
    if (start <= this.#bounds.start) return DONE;
    this.#bounds.start = start;
    this.log.noteTrim();
    this.#move();
    return DONE;
  }

  /** Invariant 4. The files follow in the background: what they still hold meanwhile is nothing wrong. */
  #compact(bytes: Uint8Array): PartitionOutcome {
    const { upTo, epoch, dropDeletesBeforeMs } = decodeCompact(bytes);
    const isNext = epoch === Math.max(this.#bounds.epoch, FIRST_EPOCH) + 1;
    if (!isNext || upTo > this.#bounds.end) return DONE;
    Object.assign(this.#bounds, { epoch, compactedTo: upTo });
    this.log.compact({ upTo, epoch, dropDeletesBeforeMs });
    this.#move();
    return DONE;
  }

  #forget(bytes: Uint8Array): PartitionOutcome {
    const { silentSinceMs, producers } = decodeForgetProducers(bytes);
    for (const id of producers) {
      const row = producerRow(`${this.#prefix}p`, id);
      const memory = this.#rows.live(row, ProducerMemory.decode);
      if (memory !== undefined && memory.lastSeenMs < silentSinceMs) this.#rows.delete(row);
    }
    return DONE;
  }

  #offset(group: string): StoredOffset | undefined {
    return this.#rows.live(`${this.#prefix}g${group}`, StoredOffset.decode);
  }

  #move(): void {
    this.#rows.putLive(`${this.#prefix}m`, this.#bounds);
    this.#onMoved();
  }
}

const NO_OFFSET: OffsetState = { case: 'offset', offset: undefined, metadata: '', generation: 0 };

function refused(refused: PartitionRefusal['refused'], actual: number, limit: number): PartitionRefusal {
  return { case: 'refused', refused, actual, limit };
}

/** In order of id. */
function producerRow(family: RowKey, id: number): RowKey {
  return family + id.toString(16).padStart(14, '0');
}
