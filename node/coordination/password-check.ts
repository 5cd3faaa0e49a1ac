/**
 * Checks passwords, a few at a time: a hash takes 32 MiB and a thread for a while.
 *
 *  1. A hash is computed for every password that is wrong, whether there is such a user or not.
 *  2. What was right lately need not be computed again: services log in often, and all at once
 *     after a restart. Of it only a hash under a key that never leaves this process is known.
 */
import { HoldfastError } from '@holdfast/client/error';
import type { Random } from '@holdfast/client/random';
import type { PasswordHash } from '../runtime/scrypt.ts';
import { hmac } from '../runtime/signatures.ts';
import { binaryString } from '../storage/row-key.ts';
import { isPassword, nobodysRecord, passwordRecord } from './password-record.ts';

/** Hashes that are computed at once, of the threads that the disk needs as well. */
const AT_ONCE = 2;
/** Passwords that wait to be checked. */
const MAX_WAITING = 256;
const MAX_KNOWN = 1_000;
const KNOWN_MS = 600_000;

export class PasswordCheck {
  readonly #hash: PasswordHash;
  readonly #random: Random;
  readonly #nobody: Uint8Array;
  readonly #key: Uint8Array;
  /** What was right, and until when that is known. Invariant 2. */
  readonly #known = new Map<string, number>();
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(hash: PasswordHash, random: Random) {
    this.#hash = hash;
    this.#random = random;
    this.#nobody = nobodysRecord(random);
    this.#key = random.bytes(32);
  }

  /** Whether a password is the one of a record; undefined: of nobody. Error: OVERLOADED. */
  async isRight(password: Uint8Array, record: Uint8Array | undefined, nowMs: number): Promise<boolean> {
    const given = binaryString(hmac(this.#key, Buffer.concat([record ?? this.#nobody, password])));
    const knownUntilMs = this.#known.get(given);
    if (record !== undefined && knownUntilMs !== undefined && knownUntilMs > nowMs) return true;
    // Invariant 1.
    const isRight = await this.#inTurn(() => isPassword(password, record ?? this.#nobody, this.#hash));
    if (!isRight || record === undefined) return false;
    this.#known.delete(given);
    this.#known.set(given, nowMs + KNOWN_MS);
    if (this.#known.size > MAX_KNOWN) this.#known.delete(this.#known.keys().next().value!);
    return true;
  }

  /** A new record. Error: OVERLOADED. */
  record(password: Uint8Array): Promise<Uint8Array> {
    return this.#inTurn(() => passwordRecord(password, this.#hash, this.#random));
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting.length >= MAX_WAITING) throw overloaded();
    if (this.#running >= AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running++;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift(); // it takes this one's place
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

function overloaded(): HoldfastError {
  return new HoldfastError({
    reason: 'OVERLOADED',
    message: `${MAX_WAITING} passwords wait to be checked. Nothing was done; try again later.`,
    outcome: 'NOT_APPLIED',
    limit: String(MAX_WAITING),
    retryAfterMs: 1_000,
  });
}
