/** Names and passwords as they come, checked. */
import { MAX_AUTH_NAME_BYTES } from '../coordination/auth-command.ts';
import { refuse } from '../kv/limits.ts';
import { binaryString } from '../storage/row-key.ts';

/** More would only cost time to hash. */
export const MAX_PASSWORD_BYTES = 1_024;
const NOTHING = 'Nothing was done.';

/** The name of a user or a role, binary. Error: AUTH_NAME_INVALID. */
export function authName(name: string, field: string): string {
  const bytes = Buffer.from(name);
  if (bytes.length >= 1 && bytes.length <= MAX_AUTH_NAME_BYTES) return binaryString(bytes);
  const message = `${field} is ${bytes.length} bytes, allowed are 1 to ${MAX_AUTH_NAME_BYTES}. ${NOTHING}`;
  throw refuse('AUTH_NAME_INVALID', field, message, String(bytes.length), `1..${MAX_AUTH_NAME_BYTES}`);
}

/** Error: INVALID_FIELD, which does not say what was given. */
export function passwordBytes(password: string, field: string): Uint8Array {
  const bytes = Buffer.from(password);
  if (bytes.length <= MAX_PASSWORD_BYTES) return bytes;
  const message = `${field} is longer than ${MAX_PASSWORD_BYTES} bytes. ${NOTHING}`;
  throw refuse('INVALID_FIELD', field, message, String(bytes.length), `0..${MAX_PASSWORD_BYTES}`);
}
