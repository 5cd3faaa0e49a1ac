/**
 * Locks, and elections, which are locks whose holders say something:
 *
 *  1. What the applied log does with a queue is right (session-model.ts): nobody holds beside
 *     whom it excludes, first come first served, tokens are new and grow, and whose session has
 *     ended neither holds nor waits.
 *  2. Whoever was told of a token is who was given it.
 *  3. Who is no holder any more by the log does not believe to be one: `isHeld` is false and,
 *     unless it stood still, the signal has fired. Not where a node's clock ran faster than what
 *     holders allow for.
 *  4. What a lock protects never takes a write by a lower token after a higher one.
 */
import { CheckFailed } from './check-failed.ts';
import type { QueueKind } from './session-model.ts';
import type { NaiveQueue } from '../../coordination/naive-queue.ts';

/** Somebody who was told to hold a lock, or to lead. */
export interface Believer {
  readonly who: string;
  readonly kind: QueueKind;
  readonly name: string;
  readonly token: number;
  /** By its own clock. */
  isHeld(): boolean;
  hasSignalled(): boolean;
  /** It has had time to notice: it does not stand still. */
  isAwake(): boolean;
}

export class LockChecker {
  readonly #mayOutlast: () => boolean;
  /** By queue and token: who was given it. */
  readonly #granted = new Map<string, bigint>();
  readonly #queues = new Map<string, NaiveQueue>();
  readonly #believers = new Map<string, Set<Believer>>();
  readonly #writes = new Map<string, { version: bigint; token: bigint; who: string }[]>();

  /** `mayOutlast`: a clock ran so fast that holders may believe for too long. */
  constructor(mayOutlast: () => boolean) {
    this.#mayOutlast = mayOutlast;
  }

  onGranted(kind: QueueKind, name: string, session: bigint, token: number): void {
    const id = `${kind} ${name} ${token}`;
    const other = this.#granted.get(id);
    if (other !== undefined)
      throw new CheckFailed(kind, `${name}: token ${token} was given to ${other} and ${session}`);
    this.#granted.set(id, session);
  }

  /** Somebody was told. */
  believes(believer: Believer): void {
    const { kind, name, token, who } = believer;
    if (!this.#granted.has(`${kind} ${name} ${token}`))
      throw new CheckFailed(kind, `${who} was told token ${token} of ${name}, which nobody was given`);
    const queue = `${kind} ${name}`;
    const believers = this.#believers.get(queue);
    if (believers === undefined) this.#believers.set(queue, new Set([believer]));
    else believers.add(believer);
    const known = this.#queues.get(queue);
    if (known !== undefined) this.onQueue(kind, name, known);
  }

  /** It gives it back, or is gone. */
  over(believer: Believer): void {
    this.#believers.get(`${believer.kind} ${believer.name}`)?.delete(believer);
  }

  /** Invariant 3. */
  onQueue(kind: QueueKind, name: string, queue: NaiveQueue): void {
    this.#queues.set(`${kind} ${name}`, queue);
    for (const believer of this.#believers.get(`${kind} ${name}`) ?? []) {
      if (queue.places.some(({ token }) => token === believer.token)) continue;
      this.over(believer);
      if (this.#mayOutlast()) continue;
      const { who, token } = believer;
      if (believer.isHeld())
        throw new CheckFailed(kind, `${name}: ${who} believes in token ${token}, which was given away`);
      if (!believer.hasSignalled() && believer.isAwake())
        throw new CheckFailed(kind, `${name}: the signal of ${who} has not fired, token ${token} is over`);
    }
  }

  /** A key that a lock protects has taken a write. */
  onWritten(resource: string, version: bigint, token: bigint, who: string): void {
    const writes = this.#writes.get(resource);
    if (writes === undefined) this.#writes.set(resource, [{ version, token, who }]);
    else writes.push({ version, token, who });
  }

  /** Invariant 4. */
  checkWrites(): void {
    for (const [resource, writes] of this.#writes) {
      writes.sort((a, b) => (a.version < b.version ? -1 : 1));
      for (let at = 1; at < writes.length; at++) {
        const [before, after] = [writes[at - 1]!, writes[at]!];
        if (after.token < before.token)
          throw new CheckFailed(
            'fence',
            `${resource} took token ${after.token} of ${after.who} at version ${after.version} after ${before.token} of ${before.who}`,
          );
      }
    }
  }
}
