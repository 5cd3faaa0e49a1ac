/**
 * Slows down who guesses passwords: attempts for one user, and attempts from one address, come
 * one after another, the further apart the more of them failed lately. Pure.
 *
 *  1. A user that does not exist is slowed down as one that does.
 *  2. Nobody is locked out: attempts are at most `MAX_GAP_MS` apart, as long as nobody else tries.
 *  3. Memory is bounded; what was quiet for longest is forgotten first.
 */

/** Failures that cost nothing: people mistype. Many come from one address, of a proxy for instance. */
const FREE_OF_USER = 5;
const FREE_OF_PEER = 20;
const FIRST_GAP_MS = 100;
export const MAX_GAP_MS = 5_000;
/** In this time half of the failures are forgotten. */
const HALF_LIFE_MS = 60_000;
const MAX_REMEMBERED = 10_000;

/** What is known of a user or an address. */
interface Tries {
  failures: number;
  /** As of which time `failures` is. */
  atMs: number;
  /** When the next one may be made. */
  nextMs: number;
}

export class LoginThrottle {
  readonly #users = new Map<string, Tries>();
  readonly #peers = new Map<string, Tries>();

  /**
   * Takes a place for an attempt: how long to wait for it; undefined: longer than `mostMs`, and
   * none is taken.
   */
  place(user: string, peer: string, nowMs: number, mostMs: number): number | undefined {
    const ofUser = triesOf(this.#users, user, nowMs);
    const ofPeer = triesOf(this.#peers, peer, nowMs);
    const atMs = Math.max(nowMs, ofUser.nextMs, ofPeer.nextMs);
    if (atMs - nowMs > mostMs) return undefined;
    ofUser.nextMs = atMs + gapMs(ofUser.failures, FREE_OF_USER);
    ofPeer.nextMs = atMs + gapMs(ofPeer.failures, FREE_OF_PEER);
    return atMs - nowMs;
  }

  /** An attempt failed. One that succeeds changes nothing: whoever guesses may have an account as well. */
  failed(user: string, peer: string, nowMs: number): void {
    fail(triesOf(this.#users, user, nowMs), FREE_OF_USER, nowMs);
    fail(triesOf(this.#peers, peer, nowMs), FREE_OF_PEER, nowMs);
  }

  /** When an attempt would be let in. */
  waitMs(user: string, peer: string, nowMs: number): number {
    const nextMs = (tries: Tries | undefined) => tries?.nextMs ?? nowMs;
    return Math.max(0, nextMs(this.#users.get(user)) - nowMs, nextMs(this.#peers.get(peer)) - nowMs);
  }
}

/** As of now, and the last that was asked for. Invariant 3. */
function triesOf(all: Map<string, Tries>, name: string, nowMs: number): Tries {
  const known = all.get(name);
  const tries = known ?? { failures: 0, atMs: nowMs, nextMs: 0 };
  tries.failures *= 0.5 ** ((nowMs - tries.atMs) / HALF_LIFE_MS);
  tries.atMs = nowMs;
  if (known !== undefined) all.delete(name);
  all.set(name, tries);
  if (all.size > MAX_REMEMBERED) all.delete(all.keys().next().value!);
  return tries;
}

function fail(tries: Tries, free: number, nowMs: number): void {
  tries.failures++;
  tries.nextMs = Math.max(tries.nextMs, nowMs + gapMs(tries.failures, free));
}

/** Invariant 2. */
function gapMs(failures: number, free: number): number {
  return failures < free ? 0 : Math.min(MAX_GAP_MS, FIRST_GAP_MS * 2 ** Math.floor(failures - free));
}
