import { readFileSync } from 'node:fs';
import type { ClusterOptions } from '../cluster-call.ts';
import { usageFailure } from '../command-failure.ts';

/** Options of every command that names keys. */
export interface KeyOptions extends ClusterOptions {
  base64Keys?: boolean;
}

/** Options of every kv command. */
export interface KvOptions extends KeyOptions {
  keyspace: string;
}

/** Options of the commands that write a value. */
export interface ValueOptions extends KvOptions {
  file?: string;
  ttl?: number;
}

/** A key of the command line, as text or decoded from base64. */
export function keyArgument(key: string, options: KeyOptions): string | Uint8Array {
  if (!options.base64Keys) {
    // What the shell hands over and is not UTF-8 arrives as this character: several keys would become one.
    if (key.includes('\ufffd'))
      throw usageFailure('the key is not UTF-8; give it in base64 with --base64-keys');
    return key;
  }
  const bytes = Buffer.from(key, 'base64');
  // Buffer passes over what is not base64; another key than the one meant must not be written.
  if (bytes.toString('base64').replace(/=+$/, '') === key.replace(/=+$/, '')) return bytes;
  throw usageFailure(`key is ${JSON.stringify(key)}, which is not base64 (--base64-keys)`);
}

/** The value of a command: its argument, a file, or standard input. */
export async function valueArgument(
  value: string | undefined,
  options: { file?: string },
): Promise<string | Uint8Array> {
  if (value !== undefined && options.file !== undefined) {
    throw usageFailure('the value is given twice: leave out VALUE or --file');
  }
  if (value !== undefined) return value;
  if (options.file === undefined)
    throw usageFailure('the value is missing: give VALUE or --file FILE (- is stdin)');
  return options.file === '-' ? standardInput() : fileContent(options.file);
}

/** The time to live as an option of the client. */
export function ttlOption(options: { ttl?: number }): { ttl?: number } {
  return options.ttl === undefined ? {} : { ttl: options.ttl };
}

/** All of standard input. */
export async function standardInput(): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function fileContent(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw usageFailure(
      `--file ${path} cannot be read: ${code === 'ENOENT' ? 'there is no such file' : (code ?? message)}`,
    );
  }
}
