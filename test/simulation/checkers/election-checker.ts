/**
 * What observers of elections are told, beside what holds of every lock (lock-checker.ts):
 *
 *  1. Only what a leader said by the applied log, with its session, token, and revision.
 *  2. In the order of revisions, none twice; nobody leads again by a token that was over.
 *  3. In the end, that nobody leads any more, when that is so.
 */
import { CheckFailed } from './check-failed.ts';

/** Who leads, as it is told. */
export interface SeenLeader {
  readonly session: bigint;
  readonly token: bigint;
  readonly revision: bigint;
  readonly value: string;
}

interface Observer {
  last: SeenLeader | undefined;
  isLed: boolean;
}

export class ElectionChecker {
  readonly #said = new Map<string, string>();
  readonly #observers = new Map<string, Observer>();

  /** Somebody has become the leader, or says something else. */
  onSaid(name: string, leader: SeenLeader): void {
    this.#said.set(`${name} ${leader.revision}`, shown(leader));
  }

  /** Somebody who observes is told. */
  observed(who: string, name: string, leader: SeenLeader | undefined): void {
    const id = `${who} ${name}`;
    let observer = this.#observers.get(id);
    if (observer === undefined) this.#observers.set(id, (observer = { last: undefined, isLed: false }));
    const { last, isLed } = observer;
    observer.isLed = leader !== undefined;
    if (leader === undefined) return;
    observer.last = leader;
    const said = this.#said.get(`${name} ${leader.revision}`);
    if (said !== shown(leader))
      throw new CheckFailed('observers', `${id} was told ${shown(leader)}, and the log has ${said}`);
    if (last === undefined) return;
    const isNewer = leader.revision > last.revision && leader.token >= last.token;
    if (!isNewer || (!isLed && leader.token === last.token))
      throw new CheckFailed('observers', `${id} was told ${shown(leader)} after ${shown(last)}`);
  }

  /** Somebody observes no more. */
  gone(who: string, name: string): void {
    this.#observers.delete(`${who} ${name}`);
  }

  /** Whom observers believe to lead, though nobody does. */
  get believed(): string[] {
    return [...this.#observers].flatMap(([id, { isLed }]) => (isLed ? [id] : []));
  }
}

function shown({ session, token, revision, value }: SeenLeader): string {
  return `session ${session} token ${token} saying ${value} at revision ${revision}`;
}
