import type { ConfigEntry, ConfigListOptions, ConfigSelection, ConfigSortBy } from '@holdfast/client';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { CommandFailure, usageFailure } from '../command-failure.ts';
import { bytesJson, bytesText } from '../entry-json.ts';
import { ExitCode } from '../exit-code.ts';
import { print, printJson, printTable } from '../output.ts';
import { selectionArgument, type SelectionOptions } from './config-selection.ts';
import { type KeyOptions, keyArgument } from './kv-options.ts';

/** Options of the commands that read the configuration. */
export interface ReadOptions extends KeyOptions {
  revision?: bigint;
  stale?: boolean;
}

/** Options that order and shorten what is listed. */
interface OrderOptions {
  limit?: number;
  keysOnly?: boolean;
  descending?: boolean;
  sortBy?: string;
}

/** Options of `holdfast config get`. */
export interface GetOptions extends ReadOptions, SelectionOptions, OrderOptions {
  countOnly?: boolean;
}

/** `holdfast config get`. */
export async function get(key: string, options: GetOptions): Promise<void> {
  const selection = selectionArgument(key, options);
  const { countOnly, limit, keysOnly, descending, sortBy } = options;
  if (selection !== undefined) return countOnly ? count(selection, options) : printList(selection, options);
  if ([countOnly, limit, keysOnly, descending, sortBy].some((option) => option !== undefined)) {
    const only = '--count-only, --limit, --keys-only, --descending and --sort-by';
    throw usageFailure(`${only} are for many keys: give --prefix or --range-end as well`);
  }
  const wanted = keyArgument(key, options);
  const { revision, stale } = options;
  const entry = await withCluster(options, (client, signal) =>
    client.config.get(wanted, { revision, stale, signal }),
  );
  if (entry === undefined) throw notFound(key);
  if (options.json) return printJson(configEntryJson(entry));
  await print(entry.bytes);
  // For a reader's eyes only: a file or program is to get the value and nothing else.
  if (process.stdout.isTTY) await print('\n');
}

/** Options of `holdfast config list`. */
export interface ListOptions extends ReadOptions, OrderOptions {
  start?: string;
  end?: string;
  count?: boolean;
}

/** `holdfast config list`. */
export async function list(prefix: string | undefined, options: ListOptions): Promise<void> {
  const selection = listSelection(prefix, options);
  return options.count ? count(selection, options) : printList(selection, options);
}

async function count(selection: ConfigSelection, options: ReadOptions): Promise<void> {
  const { revision, stale } = options;
  const number = await withCluster(options, (client, signal) =>
    client.config.count(selection, { revision, stale, signal }),
  );
  return options.json ? printJson({ count: String(number) }) : print(`${number}\n`);
}

async function printList(selection: ConfigSelection, options: ReadOptions & OrderOptions): Promise<void> {
  const { revision, stale, limit, keysOnly, descending, sortBy } = options;
  const order = { limit, keysOnly, descending, sortBy: sortBy && SORTS[sortBy] };
  const found = await withCluster(options, (client, signal) =>
    client.config.list(selection, { ...order, revision, stale, signal } as ConfigListOptions),
  );
  const line = options.json
    ? (entry: ConfigEntry) => `${JSON.stringify(configEntryJson(entry, keysOnly))}\n`
    : (entry: ConfigEntry) => textLine(entry, keysOnly);
  return print(found.entries.map(line).join(''));
}

const SORTS: Readonly<Record<string, ConfigSortBy>> = {
  key: 'key',
  version: 'version',
  'create-revision': 'createRevision',
  'mod-revision': 'modRevision',
  value: 'value',
};

/** `holdfast config status`. */
export async function status(options: ClusterOptions): Promise<void> {
  const described = await withCluster(options, (client, signal) => client.config.describe({ signal }));
  const { revision, compactRevision, keys, bytes, quotaBytes, watches } = described;
  const figures = {
    revision,
    compact_revision: compactRevision,
    keys,
    bytes,
    quota_bytes: quotaBytes,
    watches,
  };
  const shown = Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, String(value)]));
  if (options.json) return printJson(shown);
  const used = `${shown['bytes']} of ${shown['quota_bytes']} (${(Number((bytes * 1_000n) / quotaBytes) / 10).toFixed(1)}%)`;
  return printTable(
    ['REVISION', 'HISTORY FROM', 'KEYS', 'BYTES', 'WATCHES'],
    [[shown['revision']!, shown['compact_revision']!, shown['keys']!, used, shown['watches']!]],
  );
}

/** An entry as `--json` shows it. */
export function configEntryJson(entry: ConfigEntry, keysOnly = false): Record<string, unknown> {
  const { createRevision, modRevision, version, lease } = entry;
  return {
    ...bytesJson('key', entry.keyBytes),
    ...(keysOnly ? {} : bytesJson('value', entry.bytes)),
    create_revision: String(createRevision),
    mod_revision: String(modRevision),
    version: String(version),
    lease: lease === undefined ? null : String(lease),
  };
}

function textLine(entry: ConfigEntry, keysOnly = false): string {
  const key = bytesText(entry.keyBytes);
  return keysOnly ? `${key}\n` : `${key}\t${bytesText(entry.bytes)}\n`;
}

function listSelection(prefix: string | undefined, options: ListOptions): ConfigSelection {
  const { start, end } = options;
  if (prefix !== undefined && (start !== undefined || end !== undefined))
    throw usageFailure('PREFIX cannot be combined with --start or --end');
  if (start === undefined && end === undefined)
    return { prefix: prefix === undefined ? '' : keyArgument(prefix, options) };
  return {
    start: start === undefined ? '' : keyArgument(start, options),
    end: end === undefined ? undefined : keyArgument(end, options),
  };
}

function notFound(key: string): CommandFailure {
  return new CommandFailure(ExitCode.REFUSED, {
    reason: 'KEY_NOT_FOUND',
    code: 'NOT_FOUND',
    message: `there is no key ${JSON.stringify(key)} in the configuration [KEY_NOT_FOUND]`,
    field: 'key',
    actual: key,
  });
}
