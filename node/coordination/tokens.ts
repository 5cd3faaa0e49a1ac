/**
 * Tokens: what a caller shows instead of its password. They are signed and say everything
 * themselves, so that any node takes what another one made, through restarts and changes of
 * leader, and none has to be kept. Whether their user is still the same is looked up
 * (invariant 3 of auth-part.ts).
 */
import { HMAC_BYTES, hmac, isSame, type JwtKeys } from '../runtime/signatures.ts';
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { binaryBytes, binaryString } from '../storage/row-key.ts';

/** What a token says. */
export interface TokenClaims {
  /** A node of the cluster, which may do everything; otherwise a user. */
  readonly isNode: boolean;
  /** Binary. */
  readonly name: string;
  /** Revision of the permissions that it was made at; undefined: whoever made it knows of none. */
  readonly madeAt: number | undefined;
  /** Wall time. */
  readonly expiresMs: number;
  /** Wall time before which it is not taken; undefined: it is from the beginning. */
  readonly notBeforeMs?: number;
}

/** How tokens of users are made and read. */
export interface TokenFormat {
  /** Whether it makes tokens; otherwise somebody else does. */
  readonly canMake: boolean;
  make(claims: TokenClaims, secret: Uint8Array): string;
  /** What a token says; undefined: it is none, or was not signed here. */
  read(token: string, secret: Uint8Array): TokenClaims | undefined;
  /** What a token claims, before anybody looks whether that is true. */
  claimed(token: string): TokenClaims | undefined;
}

/** Longer ones are none. */
export const MAX_TOKEN_CHARACTERS = 4_096;
const TOKEN_VERSION = 1;
const [OF_USER, OF_NODE] = [1, 2];

/** Signed with the secret that the cluster chose when permissions were enabled: nothing has to be set. */
export const SIMPLE_TOKENS: TokenFormat = {
  canMake: true,

  make({ isNode, name, madeAt = 0, expiresMs }, secret) {
    const writer = new ByteWriter(128).u8(TOKEN_VERSION).u8(isNode ? OF_NODE : OF_USER);
    const content = writer.u64(madeAt).u64(expiresMs).latin1(name).finish();
    return Buffer.concat([content, hmac(secret, content)]).toString('base64url');
  },

  read(token, secret) {
    const claims = SIMPLE_TOKENS.claimed(token);
    if (claims === undefined || secret.byteLength === 0) return undefined;
    const { content, signature } = parted(token);
    return isSame(hmac(secret, content), signature) ? claims : undefined;
  },

  claimed(token) {
    try {
      const reader = new ByteReader(parted(token).content);
      const [version, kind] = [reader.u8(), reader.u8()];
      if (version !== TOKEN_VERSION || (kind !== OF_USER && kind !== OF_NODE)) return undefined;
      const [madeAt, expiresMs, name] = [reader.u64(), reader.u64(), reader.latin1()];
      return reader.done ? { isNode: kind === OF_NODE, name, madeAt, expiresMs } : undefined;
    } catch {
      return undefined; // it ends too early
    }
  },
};

function parted(token: string): { content: Buffer; signature: Buffer } {
  const bytes = token.length <= MAX_TOKEN_CHARACTERS ? Buffer.from(token, 'base64url') : Buffer.alloc(0);
  const at = Math.max(0, bytes.length - HMAC_BYTES);
  return { content: bytes.subarray(0, at), signature: bytes.subarray(at) };
}

/** JSON Web Tokens, RFC 7519, with the claims of etcd: `username`, `revision`, `exp`. */
export class JwtTokens implements TokenFormat {
  readonly #keys: JwtKeys;
  readonly #header: string;

  constructor(keys: JwtKeys) {
    this.#keys = keys;
    this.#header = encoded({ alg: keys.algorithm, typ: 'JWT' });
  }

  get canMake(): boolean {
    return this.#keys.canSign;
  }

  make({ name, madeAt, expiresMs }: TokenClaims): string {
    const username = binaryBytes(name).toString('utf8');
    const claims = { username, revision: madeAt, exp: Math.floor(expiresMs / 1_000) };
    const content = `${this.#header}.${encoded(claims)}`;
    return `${content}.${Buffer.from(this.#keys.sign(Buffer.from(content))).toString('base64url')}`;
  }

  read(token: string): TokenClaims | undefined {
    const claims = this.claimed(token);
    if (claims === undefined) return undefined;
    const dot = token.lastIndexOf('.');
    const signature = Buffer.from(token.slice(dot + 1), 'base64url');
    return this.#keys.verify(Buffer.from(token.slice(0, dot)), signature) ? claims : undefined;
  }

  claimed(token: string): TokenClaims | undefined {
    const parts = token.length <= MAX_TOKEN_CHARACTERS ? token.split('.') : [];
    if (parts.length !== 3) return undefined;
    const [header, claims] = [decoded(parts[0]!), decoded(parts[1]!)];
    // By which algorithm is ours to say, not the token's; what must be understood is not.
    if (header?.['alg'] !== this.#keys.algorithm || header['crit'] !== undefined) return undefined;
    const { username, revision, exp, nbf = 0 } = claims ?? {};
    if (typeof username !== 'string' || typeof exp !== 'number' || !Number.isFinite(exp)) return undefined;
    if (typeof nbf !== 'number' || (revision !== undefined && !isRevision(revision))) return undefined;
    const name = binaryString(Buffer.from(username));
    return { isNode: false, name, madeAt: revision, expiresMs: exp * 1_000, notBeforeMs: nbf * 1_000 };
  }
}

function isRevision(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function encoded(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function decoded(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // no JSON
  }
}
