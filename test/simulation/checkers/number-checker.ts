/**
 * IDs and sequences:
 *
 *  1. An ID is given out once, by whichever node, whatever its clock and its worker number do.
 *  2. IDs of one worker increase: those of a call are greater than all that were answered before it was made.
 *  3. Each number of a sequence is given out once, by the applied log, and to whom it says; those
 *     of a call are greater than all that were answered before it was made.
 */
import { describeId } from '../../../client/ids/id-layout.ts';
import type { SequenceCommand } from '../../../node/coordination/sequence-part.ts';
import { CheckFailed } from './check-failed.ts';

/** What was known when a call was made: the greatest ID of each worker, or number of each sequence. */
export type KnownNumbers = ReadonlyMap<number | string, bigint>;

export class NumberChecker {
  readonly #ids = new Map<bigint, string>();
  readonly #greatest = new Map<number | string, bigint>();
  /** Of sequences, by the log. */
  readonly #last = new Map<string, number>();
  readonly #given = new Map<string, number>();
  readonly #taken = new Map<string, string>();

  /** Before a call. */
  begin(): KnownNumbers {
    return new Map(this.#greatest);
  }

  /** IDs of a stock, which may have been made before the call. */
  unique(who: string, id: bigint): void {
    const other = this.#ids.get(id);
    if (other !== undefined) throw new CheckFailed('ids', `${who} and ${other} were both given ${id}`);
    this.#ids.set(id, who);
  }

  /** IDs that were made for a call. */
  made(who: string, known: KnownNumbers, ids: readonly bigint[]): void {
    for (const [at, id] of ids.entries()) {
      this.unique(who, id);
      if (at > 0 && id <= ids[at - 1]!)
        throw new CheckFailed('ids', `${who} was given ${id} after ${ids[at - 1]}`);
    }
    const { worker } = describeId(ids[0]!);
    const before = known.get(worker) ?? 0n;
    if (ids[0]! <= before)
      throw new CheckFailed(
        'ids',
        `${who} was given ${ids[0]} of worker ${worker}, which had given ${before}`,
      );
    this.#note(worker, ids.at(-1)!);
  }

  /** The log gives out numbers of a sequence. */
  onNext({ name, count }: SequenceCommand, first: number): void {
    const last = this.#last.get(name) ?? 0;
    if (first !== last + 1) throw new CheckFailed('sequences', `${name} gave out ${first} after ${last}`);
    this.#last.set(name, last + count);
    this.#given.set(`${name} ${first}`, count);
  }

  /** Somebody was told of numbers of a sequence. */
  taken(who: string, known: KnownNumbers, name: string, first: bigint, count: number): void {
    const id = `${name} ${first}`;
    if (this.#given.get(id) !== count)
      throw new CheckFailed(
        'sequences',
        `${who} was told ${count} from ${id}, the log gave ${this.#given.get(id)}`,
      );
    const other = this.#taken.get(id);
    if (other !== undefined) throw new CheckFailed('sequences', `${who} and ${other} were both given ${id}`);
    this.#taken.set(id, who);
    const before = known.get(name) ?? 0n;
    if (first <= before) throw new CheckFailed('sequences', `${who} was given ${id} after ${before}`);
    this.#note(name, first + BigInt(count) - 1n);
  }

  #note(of: number | string, greatest: bigint): void {
    const before = this.#greatest.get(of) ?? 0n;
    if (greatest > before) this.#greatest.set(of, greatest);
  }
}
