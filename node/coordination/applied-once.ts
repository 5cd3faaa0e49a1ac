/**
 * What group 0 remembers of its clients, so that a write that is sent again is decided once:
 * every sequence from `ackedBelow` on that was applied or refused, with its outcome.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { RowKey } from '../storage/row-key.ts';
import { prefixEnd } from '../storage/row-key.ts';
import type { Command } from '../raft/entry.ts';
import { CoordinationKind, encodeCommand, type WriteIdentity } from './coordination-command.ts';
import type { Applying, LiveRow, MachinePart, PartRows } from './machine-part.ts';
import { outcomeBytes, readOutcome, writeOutcome, type Outcome } from './refusal.ts';

/** Longest memory after a client's last write; longer than the longest deadline (5 min). */
export const CLIENT_MEMORY_MS = 15 * 60_000;
/** Unacknowledged outcomes kept for a client; a client with more in flight is refused. */
const CLIENT_RESULTS = 16_384;
/** An outcome above this is not kept. */
const KEPT_OUTCOME_BYTES = 4_096;
/** Clients that one command forgets at most. */
const CLIENTS_AT_ONCE = 500;
const NOTHING = new Uint8Array(0);

export class AppliedOnce implements MachinePart {
  readonly kinds = [CoordinationKind.forgetClients];
  readonly #rows: PartRows;
  readonly #prefix: RowKey;

  constructor(rows: PartRows, prefix: RowKey) {
    this.#rows = rows;
    this.#prefix = `${prefix}c`;
  }

  /** Has `write` done unless it was before. A refusal counts: a repeat that was overtaken must not be applied. */
  decide(identity: WriteIdentity, stampMs: number, write: () => Outcome): Outcome {
    const row = this.#prefix + Buffer.from(identity.clientId).toString('latin1');
    const memory =
      this.#rows.live(row, ClientMemory.decode) ?? (identity.open ? new ClientMemory() : undefined);
    if (memory === undefined) return { refused: 'CLIENT_EXPIRED' };
    const known = memory.outcome(identity.sequence);
    if (known === 'too large') return { refused: 'RESULT_NOT_KEPT' };
    if (known !== undefined) return known;
    if (identity.sequence < memory.ackedBelow) return { refused: 'SEQUENCE_STALE' };
    memory.touch(identity.ackedBelow, stampMs);
    this.#rows.putLive(row, memory);
    if (memory.isFull) return { refused: 'OVERLOADED', actual: 'unanswered writes of this client' };
    const outcome = write();
    memory.keep(identity.sequence, outcome);
    return outcome;
  }

  parse(_: number, reader: ByteReader): Buffer[] {
    const count = reader.u32();
    if (count > CLIENTS_AT_ONCE) throw new RangeError(`${count} clients to forget`);
    return Array.from({ length: count }, () => reader.raw(16));
  }

  /** Forgets those that are silent by log time. */
  apply(_: number, body: unknown, { stampMs }: Applying): Outcome {
    for (const clientId of body as Buffer[]) {
      const row = this.#prefix + clientId.toString('latin1');
      const memory = this.#rows.live(row, ClientMemory.decode);
      if (memory !== undefined && memory.lastSeenMs + CLIENT_MEMORY_MS <= stampMs) this.#rows.delete(row);
    }
    return NOTHING;
  }

  /** Some clients, from the first after `after` on: those silent since before a wall time, and where to go on. */
  async silent(
    sinceMs: number,
    after: RowKey | undefined,
  ): Promise<{ clients: Buffer[]; next: RowKey | undefined }> {
    const from = after === undefined ? this.#prefix : `${after}\0`;
    const { rows, more } = await this.#rows.range(
      from,
      prefixEnd(this.#prefix),
      CLIENTS_AT_ONCE,
      1024 * 1024,
    );
    const clients = rows
      .filter(([, content]) => ClientMemory.lastSeenMs(content) < sinceMs)
      .map(([row]) => Buffer.from(row.slice(this.#prefix.length), 'latin1'));
    return { clients, next: more ? rows.at(-1)![0] : undefined };
  }
}

export function encodeForgetClients(clientIds: readonly Uint8Array[]): Command {
  return encodeCommand(CoordinationKind.forgetClients, undefined, (writer) => {
    writer.u32(clientIds.length);
    for (const clientId of clientIds) writer.raw(clientId);
  });
}

type KeptOutcome = Outcome | 'too large';

class ClientMemory implements LiveRow {
  #ackedBelow: number;
  #lastSeenMs: number;
  readonly #outcomes: Map<number, KeptOutcome>;

  constructor(ackedBelow = 0, lastSeenMs = 0, outcomes = new Map<number, KeptOutcome>()) {
    this.#ackedBelow = ackedBelow;
    this.#lastSeenMs = lastSeenMs;
    this.#outcomes = outcomes;
  }

  get ackedBelow(): number {
    return this.#ackedBelow;
  }

  /** Log time of the client's last write. */
  get lastSeenMs(): number {
    return this.#lastSeenMs;
  }

  get isFull(): boolean {
    return this.#outcomes.size >= CLIENT_RESULTS;
  }

  outcome(sequence: number): KeptOutcome | undefined {
    return this.#outcomes.get(sequence);
  }

  keep(sequence: number, outcome: Outcome): void {
    this.#outcomes.set(sequence, outcomeBytes(outcome) > KEPT_OUTCOME_BYTES ? 'too large' : outcome);
  }

  /** Notes a sign of life, and forgets outcomes that the client has received. */
  touch(ackedBelow: number, stampMs: number): void {
    this.#lastSeenMs = Math.max(this.#lastSeenMs, stampMs);
    if (ackedBelow <= this.#ackedBelow) return;
    this.#ackedBelow = ackedBelow;
    // Oldest first; one that came out of order goes when those before it have gone.
    for (const sequence of this.#outcomes.keys()) {
      if (sequence >= ackedBelow) break;
      this.#outcomes.delete(sequence);
    }
  }

  encode(): Uint8Array {
    const writer = new ByteWriter(32 + this.#outcomes.size * 32);
    writer.u8(1).u64(this.#ackedBelow).u64(this.#lastSeenMs).u32(this.#outcomes.size);
    for (const [sequence, outcome] of this.#outcomes) {
      writer.u64(sequence).u8(outcome === 'too large' ? 0 : 1);
      if (outcome !== 'too large') writeOutcome(writer, outcome);
    }
    return Uint8Array.from(writer.finish());
  }

  static decode(content: Uint8Array): ClientMemory {
    const reader = new ByteReader(content);
    const format = reader.u8();
    if (format !== 1) throw new RangeError(`client row of unknown format ${format}`);
    const [ackedBelow, lastSeenMs] = [reader.u64(), reader.u64()];
    const outcomes = new Map<number, KeptOutcome>();
    for (let left = reader.u32(); left > 0; left--) {
      const sequence = reader.u64();
      outcomes.set(sequence, reader.u8() === 0 ? 'too large' : readOutcome(reader));
    }
    return new ClientMemory(ackedBelow, lastSeenMs, outcomes);
  }

  /** Of a row, without the rest of it. */
  static lastSeenMs(content: Uint8Array): number {
    return new ByteReader(content, 9).u64();
  }
}
