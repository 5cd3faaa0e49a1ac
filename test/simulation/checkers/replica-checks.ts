/**
 * What replicas of a group owe each other, watched from outside: each class is told what
 * happened and throws `CheckFailed` at once. Memory stays bounded if `trim` is called now
 * and then with what every replica has left behind; what is reported below is ignored.
 *
 * Groups and replicas go by any name that is never used again: a replica that lost its
 * disk is another replica.
 */
import { CheckFailed } from './check-failed.ts';
import { TrimmedMap, type Name } from './trimmed-map.ts';

/** "Election safety" of Raft (Ongaro 2014, figure 3.2): at most one leader in a term. */
export class OneLeaderPerTerm {
  readonly #leaders = new TrimmedMap<Name>();

  /** A replica leads; it may be said again. */
  recordLeader(group: Name, term: number, replica: Name): void {
    const other = this.#leaders.keep(group, term, replica);
    if (other !== undefined && other !== replica)
      throw new CheckFailed(
        'one-leader-per-term',
        `${other} and ${replica} lead group ${group} in term ${term}`,
      );
  }

  /** Forgets the terms below one. */
  trim(group: Name, belowTerm: number): void {
    this.#leaders.trim(group, belowTerm);
  }
}

interface SeenEntry {
  readonly term: number;
  readonly checksum: Name;
  readonly replica: Name;
}

/**
 * "Log matching" and "state machine safety" (Ongaro 2014, figure 3.2): index and term name
 * an entry, wherever it is; and at one index all replicas apply the same.
 */
export class LogMatching {
  readonly #written = new TrimmedMap<Map<number, SeenEntry>>();
  readonly #applied = new TrimmedMap<SeenEntry>();

  /** An entry is in a replica's log, committed or not. */
  recordWritten(group: Name, replica: Name, index: number, term: number, checksum: Name): void {
    const terms = this.#written.keep(group, index, new Map<number, SeenEntry>());
    const known = terms?.get(term);
    if (known === undefined) terms?.set(term, { term, checksum, replica });
    else if (known.checksum !== checksum)
      fail('log-matching', group, index, [known, { term, checksum, replica }]);
  }

  /** A replica applies an entry, which is therefore committed. */
  recordApplied(group: Name, replica: Name, index: number, term: number, checksum: Name): void {
    this.recordWritten(group, replica, index, term, checksum);
    const entry = { term, checksum, replica };
    const known = this.#applied.keep(group, index, entry);
    if (known !== undefined && (known.term !== term || known.checksum !== checksum))
      fail('committed-never-changes', group, index, [known, entry]);
    const before = this.#applied.get(group, index - 1);
    if (before !== undefined && before.term > term) fail('terms-never-fall', group, index, [before, entry]);
  }

  /** Forgets the entries below an index: the least that any replica has applied. */
  trim(group: Name, belowIndex: number): void {
    this.#written.trim(group, belowIndex);
    this.#applied.trim(group, belowIndex);
  }
}

/** Byte-identical state at equal applied index. */
export class EqualState {
  readonly #states = new TrimmedMap<{ readonly hash: Name; readonly replica: Name }>();

  /** The hash of a replica's whole state when it has applied all up to an index, and no more. */
  recordState(group: Name, replica: Name, applied: number, hash: Name): void {
    const known = this.#states.keep(group, applied, { hash, replica });
    if (known === undefined || known.hash === hash) return;
    throw new CheckFailed(
      'equal-state',
      `group ${group} after ${applied}: ${known.replica} has ${known.hash}, ${replica} has ${hash}`,
    );
  }

  /** Forgets the states below an index. */
  trim(group: Name, belowIndex: number): void {
    this.#states.trim(group, belowIndex);
  }
}

interface Progress {
  readonly group: Name;
  applied: number;
  durable: number;
  greatest: number;
}

/**
 * The applied index of a replica: within a life it grows by one, or jumps forward to a
 * snapshot; a new life begins no earlier than what was durable, and no later than what
 * was ever applied.
 */
export class AppliedProgress {
  readonly #replicas = new Map<string, Progress>();

  /** A process begins with what its disk says. A replica that is new may begin anywhere. */
  recordStarted(group: Name, replica: Name, applied: number): void {
    const known = this.#replicas.get(named(group, replica));
    if (known === undefined) {
      this.#replicas.set(named(group, replica), { group, applied, durable: applied, greatest: applied });
      return;
    }
    if (applied < known.durable)
      this.#fail(group, replica, `starts at ${applied}, ${known.durable} was durable`);
    if (applied > known.greatest)
      this.#fail(group, replica, `starts at ${applied}, it had not applied more than ${known.greatest}`);
    known.applied = applied;
    known.durable = applied;
  }

  recordApplied(group: Name, replica: Name, index: number): void {
    const known = this.#known(group, replica);
    if (index !== known.applied + 1) this.#fail(group, replica, `applies ${index} after ${known.applied}`);
    known.applied = index;
    known.greatest = Math.max(known.greatest, index);
  }

  /** A snapshot took the place of the state. */
  recordInstalled(group: Name, replica: Name, index: number): void {
    const known = this.#known(group, replica);
    if (index < known.applied)
      this.#fail(group, replica, `installs a snapshot of ${index} after ${known.applied}`);
    known.applied = index;
    known.greatest = Math.max(known.greatest, index);
  }

  /** The state up to an index outlasts the power. */
  recordDurable(group: Name, replica: Name, index: number): void {
    const known = this.#known(group, replica);
    if (index > known.applied) this.#fail(group, replica, `keeps ${index}, it has applied ${known.applied}`);
    known.durable = Math.max(known.durable, index);
  }

  /** A replica is gone for ever. */
  forget(group: Name, replica: Name): void {
    this.#replicas.delete(named(group, replica));
  }

  /** The least that any replica of a group has applied or may go back to: what `trim` may be called with. */
  least(group: Name): number {
    const ofGroup = [...this.#replicas.values()].filter((replica) => replica.group === group);
    return Math.min(...ofGroup.map(({ durable, applied }) => Math.min(durable, applied)));
  }

  #known(group: Name, replica: Name): Progress {
    const known = this.#replicas.get(named(group, replica));
    if (known === undefined) throw new Error(`${replica} of group ${group} has not been started`);
    return known;
  }

  #fail(group: Name, replica: Name, what: string): never {
    throw new CheckFailed('applied-progress', `${replica} of group ${group} ${what}`);
  }
}

function fail(checker: string, group: Name, index: number, entries: readonly [SeenEntry, SeenEntry]): never {
  const shown = entries.map(({ term, checksum, replica }) => `${replica} has ${checksum} of term ${term}`);
  throw new CheckFailed(checker, `group ${group} at ${index}: ${shown.join(', ')}`);
}

function named(group: Name, replica: Name): string {
  return JSON.stringify([group, replica]);
}
