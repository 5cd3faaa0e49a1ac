/**
 * Who follows elections on this node. A follower is told that something has changed and looks
 * at what is applied by itself: a slow one misses what was in between, and never the last.
 */
import type { Clock } from '@holdfast/client/clock';
import type { SessionGroup } from './session-group.ts';
import type { Place } from './wait-queue.ts';

/** Follows one election. */
export class ElectionFollower {
  readonly name: string;
  readonly #watch: ElectionWatch;
  #hasChanged = false;
  #wake: (() => void) | undefined;

  constructor(watch: ElectionWatch, name: string) {
    this.#watch = watch;
    this.name = name;
  }

  /** Something has changed. */
  note(): void {
    this.#hasChanged = true;
    this.#wake?.();
  }

  /** Resolves when something has changed since this was last asked, after `withinMs`, or when the signal aborts. */
  async changed(clock: Clock, withinMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#hasChanged && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          timer.cancel();
          signal.removeEventListener('abort', wake);
          this.#wake = undefined;
          resolve();
        };
        const timer = clock.setTimer(withinMs, wake);
        signal.addEventListener('abort', wake, { once: true });
        this.#wake = wake;
      });
    }
    this.#hasChanged = false;
  }

  close(): void {
    this.#watch.remove(this);
  }
}

export class ElectionWatch {
  readonly #group: SessionGroup;
  readonly #followers = new Map<string, Set<ElectionFollower>>();
  #size = 0;

  constructor(group: SessionGroup) {
    this.#group = group;
  }

  /** Followers. */
  get size(): number {
    return this.#size;
  }

  /** Follows an election, by its binary name. Close it. */
  follow(name: string): ElectionFollower {
    const follower = new ElectionFollower(this, name);
    const followers = this.#followers.get(name);
    if (followers === undefined) this.#followers.set(name, new Set([follower]));
    else followers.add(follower);
    this.#size++;
    return follower;
  }

  remove(follower: ElectionFollower): void {
    const followers = this.#followers.get(follower.name);
    if (followers?.delete(follower) !== true) return;
    this.#size--;
    if (followers.size === 0) this.#followers.delete(follower.name);
  }

  /** Who leads, as applied here. */
  leader(name: string): Place | undefined {
    return this.#group.state.elections.get(name)?.holders[0];
  }

  onElection(name: string): void {
    for (const follower of this.#followers.get(name) ?? []) follower.note();
  }

  /** A snapshot came in place of what was applied. */
  onReplaced(): void {
    for (const followers of this.#followers.values()) for (const follower of followers) follower.note();
  }
}
