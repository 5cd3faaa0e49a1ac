/** Keys, values and times in the JSON of the plain resources. */
import { isUtf8 } from 'node:buffer';
import type { Entry } from '@holdfast/proto/kv/v1/kv';

/** Bytes under `name`, or under `name_base64` when they are not UTF-8. */
export function bytesJson(name: string, bytes: Uint8Array): Record<string, string> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return isUtf8(buffer) ? { [name]: buffer.toString() } : { [`${name}_base64`]: buffer.toString('base64') };
}

/** A key as `key` or `key_base64`. */
export function keyJson(key: Uint8Array): Record<string, string> {
  return bytesJson('key', key);
}

/** An entry of a scan. 64-bit integers are strings: JSON readers lose digits of larger numbers. */
export function entryJson(
  { key, value, version, expiresAtMs }: Entry,
  keysOnly: boolean,
): Record<string, string> {
  return {
    ...keyJson(key),
    ...(keysOnly ? {} : bytesJson('value', value)),
    version: version.toString(),
    ...(expiresAtMs === undefined ? {} : { expires_at: rfc3339(expiresAtMs) }),
  };
}

export function rfc3339(wallMs: bigint): string {
  return new Date(Number(wallMs)).toISOString();
}
