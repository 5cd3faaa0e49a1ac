/** Conditional headers of HTTP: the version of a key, or the revision of its last change, is its entity tag. */
import { malformed } from './http-error.ts';
import type { PlainExchange } from './plain-exchange.ts';

/** A version, or revision, as an entity tag. */
export function etag(version: bigint): string {
  return `"${version}"`;
}

/** Whether the caller says that it has this very version. */
export function isKnown({ request }: PlainExchange, version: bigint): boolean {
  const tags =
    request.headers['if-none-match']?.split(',').map((tag) => tag.trim().replace(/^W\//, '')) ?? [];
  return tags.includes('*') || tags.includes(etag(version));
}

/** The version of `If-Match`. Quotes may be left out. */
export function ifMatch({ request }: PlainExchange): bigint | undefined {
  const tag = request.headers['if-match'];
  if (tag === undefined) return undefined;
  const digits = /^(?:"(\d{1,20})"|(\d{1,20}))$/.exec(tag.trim());
  const version = digits === null ? undefined : BigInt(digits[1] ?? digits[2]!);
  if (version !== undefined && BigInt.asUintN(64, version) === version) return version;
  const star =
    tag.trim() === '*' ? ' "*" (any version) is not supported: read the key and send its ETag.' : '';
  throw malformed(
    'If-Match',
    `If-Match takes one version, as in If-Match: "123".${star}`,
    tag.slice(0, 80),
    '"<version>"',
  );
}

/** Whether a write is for a key that does not exist. */
export function ifNoneMatchAny({ request }: PlainExchange): boolean {
  const tag = request.headers['if-none-match'];
  if (tag === undefined) return false;
  if (tag.trim() === '*') return true;
  throw malformed(
    'If-None-Match',
    'a write takes only If-None-Match: *, which writes a key that does not exist.',
    tag.slice(0, 80),
    '*',
  );
}

/** A condition that is not for this is not passed over. */
export function refuseHeader(
  { request }: PlainExchange,
  name: 'if-match' | 'if-none-match',
  why: string,
): void {
  const value = request.headers[name];
  if (value !== undefined) throw malformed(name, `${name} is not supported here: ${why}`, value.slice(0, 80));
}
