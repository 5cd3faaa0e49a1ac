import type { Entry } from '@holdfast/client/entry';
import { withCluster } from '../cluster-call.ts';
import { CommandFailure, usageFailure } from '../command-failure.ts';
import { bytesText, entryJson } from '../entry-json.ts';
import { ExitCode } from '../exit-code.ts';
import { print, printJson } from '../output.ts';
import { keyArgument, type KvOptions } from './kv-options.ts';

/** Options of `holdfast kv get`. */
export interface GetOptions extends KvOptions {
  maxStaleness?: number;
}

/** `holdfast kv get`. */
export async function get(key: string, options: GetOptions): Promise<void> {
  const wanted = keyArgument(key, options);
  const { maxStaleness } = options;
  const entry = await withCluster(options, (client, signal) =>
    client.keyspace(options.keyspace).get(wanted, { signal, maxStaleness }),
  );
  if (entry === undefined) throw keyNotFound(key, options.keyspace);
  if (options.json) return printJson(entryJson(entry));
  await print(entry.bytes);
  // For a reader's eyes only: a file or program is to get the value and nothing else.
  if (process.stdout.isTTY) await print('\n');
}

/** Options of `holdfast kv scan`. */
export interface ScanOptions extends KvOptions {
  start?: string;
  end?: string;
  limit?: number;
  keysOnly?: boolean;
}

/** `holdfast kv scan`. */
export async function scan(prefix: string | undefined, options: ScanOptions): Promise<void> {
  const selection = scanSelection(prefix, options);
  const keysOnly = options.keysOnly ?? false;
  const line = options.json
    ? (entry: Entry) => `${JSON.stringify(entryJson(entry, { keysOnly }))}\n`
    : (entry: Entry) => textLine(entry, keysOnly);
  await withCluster(options, async (client, signal) => {
    const { limit } = options;
    const found = client.keyspace(options.keyspace).scan({ ...selection, limit, keysOnly, signal });
    await printAll(found, line);
  });
}

function scanSelection(prefix: string | undefined, options: ScanOptions) {
  if (prefix === undefined) {
    const { start, end } = options;
    return {
      start: start === undefined ? undefined : keyArgument(start, options),
      end: end === undefined ? undefined : keyArgument(end, options),
    };
  }
  if (options.start === undefined && options.end === undefined)
    return { prefix: keyArgument(prefix, options) };
  throw usageFailure('PREFIX cannot be combined with --start or --end');
}

const CHUNK_CHARACTERS = 65_536;

async function printAll(entries: AsyncIterable<Entry>, line: (entry: Entry) => string): Promise<void> {
  let pending = '';
  try {
    for await (const entry of entries) {
      pending += line(entry);
      if (pending.length < CHUNK_CHARACTERS) continue;
      await print(pending);
      pending = '';
    }
  } finally {
    // What was found before an error is shown, too.
    if (pending !== '') await print(pending);
  }
}

function textLine(entry: Entry, keysOnly: boolean): string {
  const key = bytesText(entry.keyBytes);
  return keysOnly ? `${key}\n` : `${key}\t${bytesText(entry.bytes)}\n`;
}

function keyNotFound(key: string, keyspace: string): CommandFailure {
  return new CommandFailure(ExitCode.REFUSED, {
    reason: 'KEY_NOT_FOUND',
    code: 'NOT_FOUND',
    message: `there is no key ${JSON.stringify(key)} in keyspace ${JSON.stringify(keyspace)} [KEY_NOT_FOUND]`,
    field: 'key',
    actual: key,
  });
}
