import type { Keyspace, WriteResult } from '@holdfast/client/keyspace';
import { withCluster } from '../cluster-call.ts';
import { usageFailure } from '../command-failure.ts';
import { bytesJson } from '../entry-json.ts';
import { print, printJson } from '../output.ts';
import { keyArgument, type KvOptions, ttlOption, valueArgument, type ValueOptions } from './kv-options.ts';

/** `holdfast kv put`. */
export function put(key: string, value: string | undefined, options: ValueOptions): Promise<void> {
  return write(key, value, options, {});
}

/** `holdfast kv create`. */
export function create(key: string, value: string | undefined, options: ValueOptions): Promise<void> {
  return write(key, value, options, { ifAbsent: true });
}

/** Options of `holdfast kv cas`. */
export interface CasOptions extends ValueOptions {
  ifVersion?: bigint;
  ifValue?: string;
}

/** `holdfast kv cas`. */
export async function compareAndSet(
  key: string,
  value: string | undefined,
  options: CasOptions,
): Promise<void> {
  const { ifVersion, ifValue } = options;
  if ((ifVersion === undefined) === (ifValue === undefined)) {
    throw usageFailure('say what the key must hold now: either --if-version VERSION or --if-value VALUE');
  }
  await write(key, value, options, ifVersion === undefined ? { ifValue } : { ifVersion });
}

/** `holdfast kv incr`. */
export async function increment(
  key: string,
  options: KvOptions & { by?: bigint; ttl?: number },
): Promise<void> {
  const counter = keyArgument(key, options);
  const operation = { increment: counter, delta: options.by ?? 1n, ...ttlOption(options) };
  const result = await change(options, async (keyspace, signal) => {
    // Through a batch of one, because that gives the version as well.
    const [only] = await keyspace.write([operation], { signal });
    return applied(only!);
  });
  const value = String(result.counter);
  if (!options.json) return print(`${value}\n`);
  return printJson({ ...keyJson(counter), value, version: result.version.toString() });
}

/** `holdfast kv del`. */
export async function del(key: string, options: KvOptions & { ifVersion?: bigint }): Promise<void> {
  const doomed = keyArgument(key, options);
  const { ifVersion } = options;
  const { existed } = await change(options, (keyspace, signal) =>
    keyspace.delete(doomed, { ifVersion, signal }),
  );
  if (options.json) return printJson({ ...keyJson(doomed), existed });
  return print(existed ? 'deleted\n' : 'there was no such key\n');
}

interface Condition {
  ifAbsent?: boolean;
  ifVersion?: bigint;
  ifValue?: string | undefined;
}

async function write(
  key: string,
  value: string | undefined,
  options: ValueOptions,
  condition: Condition,
): Promise<void> {
  const target = keyArgument(key, options);
  const content = await valueArgument(value, options);
  const writeOptions = { ...condition, ...ttlOption(options) };
  const { version } = await change(options, (keyspace, signal) =>
    keyspace.put(target, content, { ...writeOptions, signal }),
  );
  if (options.json) return printJson({ ...keyJson(target), version: version.toString() });
  return print(`version ${version}\n`);
}

function change<T>(
  options: KvOptions,
  work: (keyspace: Keyspace, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return withCluster(options, (client, signal) => work(client.keyspace(options.keyspace), signal));
}

function applied(result: WriteResult): WriteResult & { ok: true } {
  if (result.ok) return result;
  throw result.error;
}

function keyJson(key: string | Uint8Array): Record<string, string> {
  return typeof key === 'string' ? { key } : bytesJson('key', key);
}
