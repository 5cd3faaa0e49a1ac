/**
 * What a consumer group owes its members:
 *
 *  1. Poll skip and non-monotonic poll: as long as a member has a partition it is given offset
 *     after offset, none twice and none left out.
 *  2. It begins at an offset that the group had stored when it claimed the partition, or at the
 *     first one if there was none.
 *  3. A commit of a generation below the greatest that the partition has seen is refused.
 *  4. By group 0, a partition has one owner, with a generation above everybody's before; one that
 *     stays with its owner keeps it.
 *  5. Unseen: in the end every record was given to somebody.
 */
import type { ConsumerGroup } from '../../../node/coordination/groups/consumer-group.ts';
import type { BrokerChecker } from './broker-checker.ts';
import { CheckFailed } from './check-failed.ts';

interface Ownership {
  readonly owner: string | undefined;
  readonly generation: number;
}

export class GroupChecker {
  readonly #records: BrokerChecker;
  /** By member and partition: the offset that comes next; undefined: it begins. */
  readonly #next = new Map<string, number | undefined>();
  /** By partition: offsets that were stored, by generation of the claim. */
  readonly #begun = new Map<number, Set<number>>();
  readonly #seen = new Map<number, Set<number>>();
  readonly #fences = new Map<number, number>();
  readonly #owners = new Map<string, Ownership>();
  #generation = 0;

  constructor(records: BrokerChecker) {
    this.#records = records;
  }

  onAssigned(member: string, group: number): void {
    this.#next.set(`${member} ${group}`, undefined);
  }

  onGivenUp(member: string, group: number): void {
    this.#next.delete(`${member} ${group}`);
  }

  /** Invariants 1, 2. */
  onPolled(member: string, group: number, offset: number, value: string): void {
    const name = `${member} ${group}`;
    const next = this.#next.get(name);
    if (next === undefined && this.#begun.get(group)?.has(offset) !== true)
      throw new CheckFailed('poll skip', `${name} begins at ${offset}, where nobody was told to begin`);
    if (next !== undefined && next !== offset)
      throw new CheckFailed(
        offset > next ? 'poll skip' : 'non-monotonic poll',
        `${name} was given ${offset}, and ${next} comes next`,
      );
    this.#next.set(name, offset + 1);
    this.#records.onRead(member, group, offset, [value]);
    const seen = this.#seen.get(group) ?? new Set();
    this.#seen.set(group, seen.add(offset));
  }

  /** A claim was applied: its member may begin at this offset. */
  onClaimed(group: number, generation: number, offset: number | undefined): void {
    if (generation === 0) return;
    const before = this.#fences.get(group) ?? 0;
    if (generation < before)
      throw new CheckFailed('commit fence', `group ${group} let in generation ${generation} after ${before}`);
    this.#fences.set(group, generation);
    const begun = this.#begun.get(group) ?? new Set();
    this.#begun.set(group, begun.add(offset ?? 0));
  }

  /** A commit was applied. Invariant 3. */
  onCommitted(group: number, generation: number, offset: number): void {
    const before = this.#fences.get(group) ?? 0;
    if (generation < before)
      throw new CheckFailed('commit fence', `group ${group} took a commit of ${generation} after ${before}`);
    this.#fences.set(group, generation);
    if (offset > this.#records.logOf(group).length)
      throw new CheckFailed('commit fence', `group ${group} took a commit of ${offset}, beyond its end`);
  }

  /** Group 0 has applied something. Invariant 4. */
  onGroup(state: ConsumerGroup): void {
    if (state.generation < this.#generation)
      throw new CheckFailed('assignment', `generation ${state.generation} after ${this.#generation}`);
    this.#generation = state.generation;
    for (const { topic, number, owner, generation } of state.partitions) {
      const name = `${topic}/${number}`;
      const before = this.#owners.get(name);
      if (owner === undefined) continue;
      if (!state.members.has(owner))
        throw new CheckFailed('assignment', `${name} belongs to ${owner}, who is no member`);
      const isSame = before?.owner === owner && before.generation === generation;
      if (before !== undefined && !isSame && generation <= before.generation)
        throw new CheckFailed(
          'assignment',
          `${name} goes to ${owner} in ${generation}, ${before.owner} had ${before.generation}`,
        );
      this.#owners.set(name, { owner, generation });
    }
  }

  /** Invariant 5: partitions and offsets that nobody was given. */
  unseen(groups: Iterable<number>): string[] {
    const unseen: string[] = [];
    for (const group of groups)
      for (const offset of this.#records.logOf(group).keys())
        if (this.#seen.get(group)?.has(offset) !== true) unseen.push(`${group}@${offset}`);
    return unseen;
  }
}
