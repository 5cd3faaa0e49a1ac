/**
 * What topics owe producers and readers:
 *
 *  1. Lost write: what was acknowledged with an offset is in the log at that offset.
 *  2. Duplicate: no record is in the log twice.
 *  3. Non-monotonic send: of one producer and partition, records are in the log in the order in
 *     which they were sent.
 *  4. What was said not to be kept is not in the log, then or later.
 *  5. Inconsistent offsets: whoever reads an offset, from whichever replica and whenever, finds
 *     what the log has there, and nothing where it has nothing yet.
 */
import { CheckFailed } from './check-failed.ts';

/** A record of the test: who sent it, and the how manieth of that one. */
export interface SentRecord {
  readonly producer: string;
  readonly number: number;
}

export class BrokerChecker {
  /** By group: records in order of offset. */
  readonly #logs = new Map<number, string[]>();
  readonly #places = new Map<string, string>();
  /** By group and producer: the last one in the log. */
  readonly #last = new Map<string, number>();
  readonly #refused = new Set<string>();
  readonly #acknowledged = new Map<string, string>();

  /** How many records are in the logs. */
  get kept(): number {
    return this.#places.size;
  }

  get acknowledgedCount(): number {
    return this.#acknowledged.size;
  }

  /** What the log of a partition has, in order of offset. */
  logOf(group: number): readonly string[] {
    return this.#logs.get(group) ?? [];
  }

  /** A batch was applied, wherever that was first. */
  onAppended(group: number, baseOffset: number, records: readonly string[]): void {
    const log = this.#logs.get(group) ?? [];
    this.#logs.set(group, log);
    if (log.length !== baseOffset)
      throw new CheckFailed(
        'offsets',
        `group ${group} ends at ${log.length}, a batch was given ${baseOffset}`,
      );
    for (const record of records) {
      const offset = log.push(record) - 1;
      this.#keep(record, group, offset);
    }
  }

  /** A producer was told where its record is; undefined: that it is there, and was so for so long that nobody remembers where. */
  onAcknowledged({ producer, number }: SentRecord, group: number, offset: bigint | undefined): void {
    const name = `${producer}/${number}`;
    const known = this.#places.get(name);
    const place = offset === undefined ? (known ?? 'some place') : `${group}@${offset}`;
    if (known !== place)
      throw new CheckFailed(
        'lost write',
        `${name} was acknowledged at ${place}, and is at ${known ?? 'no place'}`,
      );
    this.#acknowledged.set(name, place);
  }

  /** A producer was told that its record is not kept. */
  onRefused({ producer, number }: SentRecord): void {
    const name = `${producer}/${number}`;
    if (this.#places.has(name))
      throw new CheckFailed(
        'refused',
        `${name} was said not to be kept, and is at ${this.#places.get(name)}`,
      );
    this.#refused.add(name);
  }

  /** Somebody has read records from an offset on. */
  onRead(who: string, group: number, offset: number, records: readonly string[]): void {
    const log = this.logOf(group);
    for (const [at, record] of records.entries())
      if (log[offset + at] !== record)
        throw new CheckFailed(
          'inconsistent offsets',
          `${who} read ${record} at ${group}@${offset + at}, where there is ${log[offset + at] ?? 'nothing'}`,
        );
  }

  #keep(name: string, group: number, offset: number): void {
    const place = `${group}@${offset}`;
    const other = this.#places.get(name);
    if (other !== undefined) throw new CheckFailed('duplicate', `${name} is at ${other} and at ${place}`);
    this.#places.set(name, place);
    if (this.#refused.has(name))
      throw new CheckFailed('refused', `${name} was said not to be kept, and is at ${place}`);
    const [producer, number] = [
      name.slice(0, name.lastIndexOf('/')),
      Number(name.slice(name.lastIndexOf('/') + 1)),
    ];
    const before = this.#last.get(`${group} ${producer}`) ?? -1;
    if (number <= before)
      throw new CheckFailed(
        'non-monotonic send',
        `${name} is in group ${group} behind ${producer}/${before}`,
      );
    this.#last.set(`${group} ${producer}`, number);
  }
}
