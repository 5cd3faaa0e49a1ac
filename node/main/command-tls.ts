/** The TLS with which the command line asks nodes. */
import { existsSync, readFileSync } from 'node:fs';
import type { TlsOptions } from '@holdfast/client/options';
import type { TlsSettings } from '../transport/tls-files.ts';
import { usageFailure } from './command-failure.ts';

/** Options about TLS; each file may come from the environment instead. */
export interface TlsCommandOptions {
  tls?: boolean;
  ca?: string;
  cert?: string;
  key?: string;
  serverName?: string;
}

/** What options and environment say; undefined: nothing. */
export function tlsOfOptions(options: TlsCommandOptions): TlsOptions | undefined {
  const ca = file(options.ca, '--ca', 'HOLDFAST_CA');
  const certificate = file(options.cert, '--cert', 'HOLDFAST_CERT');
  const key = file(options.key, '--key', 'HOLDFAST_KEY');
  const { serverName } = options;
  if ((certificate === undefined) !== (key === undefined))
    throw usageFailure('--cert and --key are given together (or HOLDFAST_CERT and HOLDFAST_KEY)');
  const isAsked = options.tls || [ca, certificate, serverName].some((one) => one !== undefined);
  return isAsked ? { ca, certificate, key, serverName } : undefined;
}

/**
 * What a cluster file says: its authority vouches for the nodes as well. A caller's own
 * certificate is never taken from there: what the file names is that of a node.
 */
export function tlsOfFile(served: TlsSettings | undefined): TlsOptions | undefined {
  if (served === undefined) return undefined;
  const { ca } = served;
  // A file that only nodes have: then let the certificates show whom they are from.
  return ca === undefined || !existsSync(ca) ? {} : { ca: read(ca, 'tls.ca') };
}

/** What was asked for; the file fills in the authority. */
export function bothTls(
  asked: TlsOptions | undefined,
  ofFile: TlsOptions | undefined,
): TlsOptions | undefined {
  return asked === undefined ? ofFile : { ...asked, ca: asked.ca ?? ofFile?.ca };
}

function file(option: string | undefined, name: string, variable: string): Buffer | undefined {
  if (option !== undefined) return read(option, name);
  const path = process.env[variable];
  return path === undefined || path === '' ? undefined : read(path, variable);
}

function read(path: string, from: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : (code ?? message);
    throw usageFailure(`${from} ${path} cannot be read: ${why}`);
  }
}
