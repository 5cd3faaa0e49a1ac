/**
 * Sequences: numbers by name that only grow, as a part of the coordination's state machine.
 *
 *  1. A number is given out once, and each is greater than all that were given out before.
 *  2. What is refused has taken no number.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { prefixEnd, type RowKey } from '../storage/row-key.ts';
import { CoordinationKind } from './coordination-command.ts';
import type { MachinePart, PartRows } from './machine-part.ts';
import type { Outcome } from './refusal.ts';

/** Numbers of one command. */
export const MAX_SEQUENCE_COUNT = 1_000_000;
/** Names of sequences. */
export const SEQUENCE_NAME = /^[a-z0-9._-]{1,64}$/;

/** Asks for the next numbers of a sequence. */
export interface SequenceCommand {
  readonly name: string;
  readonly count: number;
}

/** A sequence and the last number that was taken. */
export interface SequenceState {
  readonly name: string;
  readonly last: number;
}

export function writeSequenceCommand(writer: ByteWriter, { name, count }: SequenceCommand): void {
  writer.latin1(name).u32(count);
}

/** The first of the numbers that a command was given. Error: RangeError. */
export function readSequenceOutcome(outcome: Uint8Array): number {
  return new ByteReader(outcome).u64();
}

export class SequencePart implements MachinePart {
  readonly kinds = [CoordinationKind.sequenceNext];
  readonly #rows: PartRows;
  readonly #prefix: RowKey;

  /** `prefix`: of the group. */
  constructor(rows: PartRows, prefix: RowKey) {
    this.#rows = rows;
    this.#prefix = `${prefix}s`;
  }

  parse(_: number, reader: ByteReader): SequenceCommand {
    const name = reader.latin1();
    if (!SEQUENCE_NAME.test(name)) throw new RangeError('a sequence of a name that may not be');
    const count = reader.u32();
    if (count >= 1 && count <= MAX_SEQUENCE_COUNT) return { name, count };
    throw new RangeError(`${count} numbers of a sequence`);
  }

  apply(_: number, body: unknown): Outcome {
    const { name, count } = body as SequenceCommand;
    const row = this.#prefix + name;
    const content = this.#rows.get(row);
    const last = content === undefined ? 0 : new ByteReader(content).u64();
    if (last + count > Number.MAX_SAFE_INTEGER)
      return { refused: 'SEQUENCE_EXHAUSTED', actual: String(last), limit: String(Number.MAX_SAFE_INTEGER) };
    this.#rows.put(row, new ByteWriter(8).u64(last + count).finish());
    return new ByteWriter(8).u64(last + 1).finish();
  }

  /** Up to `limit`, by name, after one; as of one moment. */
  async list(after: string, limit: number): Promise<{ sequences: SequenceState[]; more: boolean }> {
    const start = after === '' ? this.#prefix : `${this.#prefix}${after}\0`;
    const { rows, more } = await this.#rows.range(start, prefixEnd(this.#prefix), limit);
    const sequences = rows.map(([row, content]) => ({
      name: row.slice(this.#prefix.length),
      last: new ByteReader(content).u64(),
    }));
    return { sequences, more };
  }
}
