import type { ConfigEntry } from '@holdfast/client';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { usageFailure } from '../command-failure.ts';
import { bytesText } from '../entry-json.ts';
import { print, printJson } from '../output.ts';
import { configEntryJson } from './config-reads.ts';
import { selectionArgument, type SelectionOptions } from './config-selection.ts';
import { type KeyOptions, keyArgument, standardInput, valueArgument } from './kv-options.ts';

/** Options of `holdfast config put`. */
export interface PutOptions extends KeyOptions {
  file?: string;
  lease?: bigint;
  ifRevision?: bigint;
  ifAbsent?: boolean;
  keepLease?: boolean;
  previous?: boolean;
}

/** `holdfast config put`. */
export async function put(key: string, value: string | undefined, options: PutOptions): Promise<void> {
  const { lease, ifRevision: ifModRevision, ifAbsent, keepLease, previous: returnPrevious } = options;
  if (keepLease === true && lease !== undefined)
    throw usageFailure('--keep-lease and --lease exclude each other');
  if (ifAbsent === true && ifModRevision !== undefined)
    throw usageFailure('--if-absent and --if-revision exclude each other');
  const target = keyArgument(key, options);
  const content =
    value === '-' && options.file === undefined ? await standardInput() : await valueArgument(value, options);
  const write = { lease, ifModRevision, ifAbsent, keepLease, returnPrevious };
  const result = await withCluster(options, (client, signal) =>
    client.config.put(target, content, { ...write, signal }),
  );
  const { revision, previous } = result;
  if (options.json)
    return printJson({
      revision: String(revision),
      ...(returnPrevious && { previous: previous ? configEntryJson(previous) : null }),
    });
  await print(`revision ${revision}\n`);
  if (previous !== undefined) await print(`before: ${bytesText(previous.bytes)}\n`);
}

/** Options of `holdfast config del`. */
export interface DeleteOptions extends SelectionOptions {
  ifRevision?: bigint;
  previous?: boolean;
}

/** `holdfast config del`. */
export async function del(key: string, options: DeleteOptions): Promise<void> {
  const { ifRevision: ifModRevision, previous: returnPrevious } = options;
  const many = selectionArgument(key, options);
  if (many !== undefined && ifModRevision !== undefined)
    throw usageFailure('--if-revision is for a single key, not for --prefix or --range-end');
  const selection = many ?? keyArgument(key, options);
  const { revision, deleted, previous } = await withCluster(options, (client, signal) =>
    client.config.delete(selection, { ifModRevision, returnPrevious, signal }),
  );
  if (options.json)
    return printJson({
      revision: String(revision),
      deleted,
      ...(returnPrevious && { previous: previous.map((entry) => configEntryJson(entry)) }),
    });
  await print(
    deleted === 0 ? 'there was nothing to delete\n' : `deleted ${deleted} at revision ${revision}\n`,
  );
  await print(previous.map(previousLine).join(''));
}

/** `holdfast config compact`. */
export async function compact(before: bigint, options: ClusterOptions): Promise<void> {
  const { timeout } = options;
  const now = await withCluster(options, (client, signal) =>
    client.config.compact(before, { timeout, signal }),
  );
  if (options.json) return printJson({ compact_revision: String(before), revision: String(now) });
  return print(`history before revision ${before} is forgotten\n`);
}

function previousLine(entry: ConfigEntry): string {
  return `before: ${bytesText(entry.keyBytes)}\t${bytesText(entry.bytes)}\n`;
}
