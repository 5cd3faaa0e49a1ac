/**
 * The values that callers write: a short label, which stands for the value in histories, and
 * bytes that follow from it, so that a reader sees whether any of them is wrong.
 */
const FILLER = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;-_+*!?';

/** The label of a value of about this many bytes; short ones are repeated by others. */
export function labelOf(unique: number, bytes: number): string {
  if (bytes <= 3) return FILLER.slice(unique % 26, (unique % 26) + bytes);
  return `v${unique}.${bytes}`;
}

/** The bytes of a value. */
export function bytesOf(label: string): Buffer {
  const match = /^v(\d+)\.(\d+)$/.exec(label);
  if (match === null) return Buffer.from(label);
  const unique = Number(match[1]);
  const text = Buffer.alloc(Math.max(Number(match[2]), label.length + 1));
  const start = unique % FILLER.length;
  text.fill(FILLER.slice(start) + FILLER.slice(0, start));
  text.write(`${label}|`);
  return text;
}

/** The label of a value that was read; what nobody wrote is named as that. */
export function labelFrom(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const label = text.subarray(0, 24).toString('latin1').split('|')[0]!;
  return bytesOf(label).equals(text) ? label : `damaged ${label} of ${bytes.length} bytes`;
}
