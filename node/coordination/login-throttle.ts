/**
 * Slows down who guesses passwords: attempts for one user, from one address, and for one user
 * from one address come one after another, the further apart the more of them failed lately. Pure.
 *
 *  1. A user that does not exist is slowed down as one that does.
 *  2. Nobody is locked out by another address: attempts for a user are at most `MAX_GAP_MS` apart,
 *     and one address gets few of them.
 *  3. Memory is bounded; what was quiet for longest is forgotten first.
 *  4. What was not judged yet may fail as well: many attempts at once keep a distance, too.
 */

/** How attempts are slowed down that have something in common. */
interface Slowing {
  /** Failures that cost nothing: people mistype. As many attempts at once need no distance. */
  readonly free: number;
  readonly maxGapMs: number;
}

/** Longest distance of attempts for one user. */
export const MAX_GAP_MS = 5_000;
/** Of attempts for one user from one address: who goes on guessing leaves most places to others. */
export const MAX_GAP_OF_PAIR_MS = 30_000;
const OF_USER: Slowing = { free: 5, maxGapMs: MAX_GAP_MS };
/** Many come from one address, of a proxy for instance. */
const OF_PEER: Slowing = { free: 20, maxGapMs: MAX_GAP_MS };
const OF_PAIR: Slowing = { free: 5, maxGapMs: MAX_GAP_OF_PAIR_MS };
const FIRST_GAP_MS = 100;
/** In this time half of the failures are forgotten. */
const HALF_LIFE_MS = 60_000;
const MAX_REMEMBERED = 10_000;

/** What is known of a user, an address, or both together. */
interface Tries {
  failures: number;
  /** Attempts that have a place and are not judged yet. */
  pending: number;
  /** As of which time `failures` is. */
  atMs: number;
  /** When the next one may be made. */
  nextMs: number;
}

type Judged = [Tries, Slowing];

export class LoginThrottle {
  readonly #users = new Map<string, Tries>();
  readonly #peers = new Map<string, Tries>();
  readonly #pairs = new Map<string, Tries>();

  /**
   * Takes a place for an attempt, which is followed by `judged`: how long to wait for it;
   * undefined: longer than `mostMs`, or so long for reasons of its own that it would keep a
   * place from others meanwhile, and none is taken.
   */
  place(user: string, peer: string, nowMs: number, mostMs: number): number | undefined {
    const all = this.#of(user, peer, nowMs);
    const atMs = Math.max(nowMs, ...all.map(([{ nextMs }]) => nextMs));
    const [[ofUser], [ofPeer]] = all;
    const isOwnReason = atMs > Math.max(nowMs, ofUser.nextMs, ofPeer.nextMs);
    if (atMs - nowMs > mostMs || isOwnReason) return undefined;
    for (const [tries, slowing] of all) {
      tries.pending++;
      tries.nextMs = atMs + gapMs(tries, slowing);
    }
    return atMs - nowMs;
  }

  /** An attempt ended. That it was right changes nothing: whoever guesses may have an account as well. */
  judged(user: string, peer: string, nowMs: number, wasRight: boolean): void {
    for (const [tries, slowing] of this.#of(user, peer, nowMs)) {
      tries.pending = Math.max(0, tries.pending - 1);
      if (wasRight) continue;
      tries.failures++;
      tries.nextMs = Math.max(tries.nextMs, nowMs + gapMs(tries, slowing));
    }
  }

  /** When an attempt would be let in. */
  waitMs(user: string, peer: string, nowMs: number): number {
    const known = [this.#users.get(user), this.#peers.get(peer), this.#pairs.get(pairOf(user, peer))];
    return Math.max(0, ...known.map((tries) => (tries?.nextMs ?? nowMs) - nowMs));
  }

  #of(user: string, peer: string, nowMs: number): [ofUser: Judged, ofPeer: Judged, ofPair: Judged] {
    return [
      [triesOf(this.#users, user, nowMs), OF_USER],
      [triesOf(this.#peers, peer, nowMs), OF_PEER],
      [triesOf(this.#pairs, pairOf(user, peer), nowMs), OF_PAIR],
    ];
  }
}

function pairOf(user: string, peer: string): string {
  return `${peer} ${user}`;
}

/** As of now, and the last that was asked for. Invariant 3. */
function triesOf(all: Map<string, Tries>, name: string, nowMs: number): Tries {
  const known = all.get(name);
  const tries = known ?? { failures: 0, pending: 0, atMs: nowMs, nextMs: 0 };
  tries.failures *= 0.5 ** ((nowMs - tries.atMs) / HALF_LIFE_MS);
  tries.atMs = nowMs;
  if (known !== undefined) all.delete(name);
  all.set(name, tries);
  if (all.size > MAX_REMEMBERED) all.delete(all.keys().next().value!);
  return tries;
}

/** Invariants 2 and 4. */
function gapMs({ failures, pending }: Tries, { free, maxGapMs }: Slowing): number {
  if (failures >= free) return Math.min(maxGapMs, FIRST_GAP_MS * 2 ** Math.floor(failures - free));
  return pending > free ? FIRST_GAP_MS : 0;
}
