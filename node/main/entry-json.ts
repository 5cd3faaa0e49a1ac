import type { Entry } from '@holdfast/client/entry';

/** An entry as `--json` shows it. Bytes that are not UTF-8 stand in `…_base64` instead. */
export function entryJson(entry: Entry, options: { keysOnly?: boolean } = {}): Record<string, unknown> {
  return {
    ...bytesJson('key', entry.keyBytes),
    ...(options.keysOnly ? {} : bytesJson('value', entry.bytes)),
    version: entry.version.toString(),
    expires_at: entry.expiresAt?.toISOString() ?? null,
  };
}

/** Bytes as JSON: `{name: text}`, or `{name_base64: …}` when they are not UTF-8. */
export function bytesJson(name: string, bytes: Uint8Array): Record<string, string> {
  const text = utf8(bytes);
  return text === undefined
    ? { [`${name}_base64`]: Buffer.from(bytes).toString('base64') }
    : { [name]: text };
}

/** Bytes for a table: text if they are printable UTF-8, else quoted or as base64. */
export function bytesText(bytes: Uint8Array): string {
  const text = utf8(bytes);
  if (text === undefined) return `base64:${Buffer.from(bytes).toString('base64')}`;
  return /[\p{C}]/u.test(text) ? JSON.stringify(text) : text;
}

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
