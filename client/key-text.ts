import type { Key } from './values.ts';

// Fatal, so that bytes that are not text are seen; ignoreBOM keeps a leading U+FEFF, which
// is a part of the key as any other character.
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const laxUtf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** A key as people know it: text if its bytes are UTF-8, else the bytes. */
export function keyOfBytes(bytes: Uint8Array): Key {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return bytes;
  }
}

/** A value as text. Bytes that are not UTF-8 become U+FFFD. */
export function textOfBytes(bytes: Uint8Array): string {
  return laxUtf8.decode(bytes);
}
