import { existsSync, readFileSync } from 'node:fs';
import type { TlsOptions } from '@holdfast/client/options';
import { bothTls, tlsOfFile, tlsOfOptions, type TlsCommandOptions } from './command-tls.ts';

/** A node to ask; its name is known when it comes from a cluster file. */
export interface KnownEndpoint {
  name: string | undefined;
  grpc: string;
  http: string | undefined;
  /** Undefined: plain text. */
  tls: TlsOptions | undefined;
}

/** The options that say where the cluster is. */
export interface EndpointOptions extends TlsCommandOptions {
  endpoints?: string;
  config?: string;
}

const DEFAULT_FILE = 'cluster.yaml';
const DEFAULT_ENDPOINT = '127.0.0.1:7401';

/**
 * Where the cluster is: --endpoints, else --config, else HOLDFAST_ENDPOINTS, else
 * cluster.yaml in the working directory, else this machine. TLS is what the options or the
 * environment say of it, else what a cluster file says.
 */
export async function selectEndpoints(options: EndpointOptions): Promise<KnownEndpoint[]> {
  const tls = tlsOfOptions(options);
  if (options.endpoints !== undefined) return named(options.endpoints, tls);
  if (options.config !== undefined) return fromFile(options.config, tls);
  const environment = process.env['HOLDFAST_ENDPOINTS'];
  if (environment !== undefined && environment.trim() !== '') return named(environment, tls);
  return existsSync(DEFAULT_FILE) ? fromFile(DEFAULT_FILE, tls) : named(DEFAULT_ENDPOINT, tls);
}

function named(endpoints: string, tls: TlsOptions | undefined): KnownEndpoint[] {
  return endpoints.split(',').map((text) => ({ name: undefined, grpc: text.trim(), http: undefined, tls }));
}

async function fromFile(path: string, tls: TlsOptions | undefined): Promise<KnownEndpoint[]> {
  const quick = plainNodes(path);
  if (quick !== undefined) return quick.map((node) => ({ ...node, tls }));
  const { loadClusterFile } = await import('./cluster-file.ts');
  const { nodes } = loadClusterFile(path);
  return nodes.map(({ name, grpc, http, tls: served }) => ({
    name,
    grpc: grpc.text,
    http: http.text,
    tls: bothTls(tls, tlsOfFile(served)),
  }));
}

const ITEM = /^ *- name: ([a-z0-9-]+)$/;
const ADDRESS = /^ +(grpc|http): ([a-zA-Z0-9.-]+:\d{1,5})$/;

/**
 * The nodes of a file in its usual form. A YAML parser and a schema take longer to load
 * than the call that they precede; a file in any other form is left to them.
 */
function plainNodes(path: string): Omit<KnownEndpoint, 'tls'>[] | undefined {
  const lines = readLines(path);
  if (lines.some((line) => line.startsWith('tls:'))) return undefined;
  const start = lines.indexOf('nodes:');
  if (start < 0) return undefined;
  const found: { name: string; grpc?: string; http?: string }[] = [];
  for (const line of lines.slice(start + 1)) {
    if (/^[a-z]/.test(line)) break;
    const item = ITEM.exec(line);
    const address = ADDRESS.exec(line);
    if (item !== null) found.push({ name: item[1]! });
    else if (address !== null && found.length > 0) found.at(-1)![address[1] as 'grpc' | 'http'] = address[2]!;
    else if (!/^ +(data|zone|datacentre): /.test(line)) return undefined;
  }
  const whole = found.filter((node) => node.grpc !== undefined && node.http !== undefined);
  return found.length === 0 || whole.length < found.length
    ? undefined
    : (whole as Omit<KnownEndpoint, 'tls'>[]);
}

function readLines(path: string): string[] {
  try {
    const lines = readFileSync(path, 'utf8').split(/\r?\n/);
    return lines.map((line) => line.replace(/(^|\s)#.*$/, '').trimEnd()).filter((line) => line !== '');
  } catch {
    return []; // Whoever reads it next says why it cannot be read.
  }
}
