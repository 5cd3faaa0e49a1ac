/** How callers are let in, as cluster.yaml says. */
import { readFileSync } from 'node:fs';
import type { AuthSettings } from '../coordination/auth.ts';
import { JwtTokens, SIMPLE_TOKENS } from '../coordination/tokens.ts';
import { JwtKeys, type JwtAlgorithm } from '../runtime/signatures.ts';

/** JSON Web Tokens: the algorithm, and the files of its keys. */
export interface JwtSettings {
  readonly algorithm: JwtAlgorithm;
  readonly publicKey: string | undefined;
  readonly privateKey: string | undefined;
}

/** The files of `auth.jwt` cannot be used. The message says what is wrong. */
export class JwtFilesError extends Error {
  override readonly name = 'JwtFilesError';
}

/** Reads the keys, if there are. Error: JwtFilesError. */
export function authSettings({
  tokenTtlMs,
  jwt,
}: {
  readonly tokenTtlMs: number;
  readonly jwt: JwtSettings | undefined;
}): AuthSettings {
  return { tokenTtlMs, tokens: jwt === undefined ? SIMPLE_TOKENS : new JwtTokens(jwtKeys(jwt)) };
}

function jwtKeys({ algorithm, publicKey, privateKey }: JwtSettings): JwtKeys {
  const files = { algorithm, publicKey: read(publicKey), privateKey: read(privateKey) };
  try {
    return new JwtKeys(files);
  } catch (error) {
    const names = [publicKey, privateKey].filter((path) => path !== undefined).join(', ');
    throw new JwtFilesError(`auth.jwt cannot be used (${names}): ${(error as Error).message}`);
  }
}

function read(path: string | undefined): Uint8Array | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : (code ?? message);
    throw new JwtFilesError(`auth.jwt: ${path} cannot be read: ${why}`);
  }
}
