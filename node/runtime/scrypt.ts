/** The memory-hard hash of passwords, on threads of its own: one takes a tenth of a second or two. */
import { scrypt as derive } from 'node:crypto';

/** What one hash costs: N = 2^log2n, r and p of RFC 7914. Takes 128 · N · r bytes. */
export interface HashCost {
  readonly log2n: number;
  readonly r: number;
  readonly p: number;
}

/** Derives bytes from a password. */
export type PasswordHash = (
  password: Uint8Array,
  salt: Uint8Array,
  cost: HashCost,
  bytes: number,
) => Promise<Uint8Array>;

/** scrypt. Error: RangeError, of a cost that is none. */
export const scrypt: PasswordHash = (password, salt, { log2n, r, p }, bytes) =>
  new Promise((resolve, reject) => {
    const options = { N: 2 ** log2n, r, p, maxmem: 129 * 2 ** log2n * r + 128 * r * p + 1_048_576 };
    derive(password, salt, bytes, options, (error, key) => (error === null ? resolve(key) : reject(error)));
  });
