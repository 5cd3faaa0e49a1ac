/**
 * What of a password is kept: a salt, what its hash costs, and the hash. It is made by the node
 * that is given the password, before anything is proposed: a hash takes longer than a command may.
 */
import type { Random } from '@holdfast/client/random';
import type { HashCost, PasswordHash } from '../runtime/scrypt.ts';
import { isSame } from '../runtime/signatures.ts';
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';

const RECORD_VERSION = 1;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** 32 MiB and three passes: what OWASP asks of scrypt at least. Raised, it also takes longer to log in. */
export const HASH_COST: HashCost = { log2n: 15, r: 8, p: 3 };

/** A new record of a password. */
export async function passwordRecord(
  password: Uint8Array,
  hash: PasswordHash,
  random: Random,
  cost = HASH_COST,
): Promise<Uint8Array> {
  const salt = random.bytes(SALT_BYTES);
  return encoded(cost, salt, await hash(password, salt, cost, HASH_BYTES));
}

/** A record that no password has: what is checked when there is no user, so that it takes as long. */
export function nobodysRecord(random: Random): Uint8Array {
  return encoded(HASH_COST, random.bytes(SALT_BYTES), random.bytes(HASH_BYTES));
}

/** Whether a record is of a password. Error: RangeError, it is no record. */
export async function isPassword(
  password: Uint8Array,
  record: Uint8Array,
  hash: PasswordHash,
): Promise<boolean> {
  const reader = new ByteReader(record);
  const version = reader.u8();
  if (version !== RECORD_VERSION) throw new RangeError(`unknown version ${version} of a password's record`);
  const cost = { log2n: reader.u8(), r: reader.u8(), p: reader.u8() };
  const [salt, expected] = [reader.bytes(), reader.bytes()];
  return isSame(await hash(password, salt, cost, expected.byteLength), expected);
}

function encoded({ log2n, r, p }: HashCost, salt: Uint8Array, hash: Uint8Array): Uint8Array {
  const writer = new ByteWriter(64).u8(RECORD_VERSION).u8(log2n).u8(r).u8(p);
  return Uint8Array.from(writer.bytes(salt).bytes(hash).finish());
}
