import type { ConfigEvent, WatchItem } from '@holdfast/client';
import { withCluster } from '../cluster-call.ts';
import { bytesJson, bytesText } from '../entry-json.ts';
import { interruption } from '../interruption.ts';
import { print, printError } from '../output.ts';
import { configEntryJson } from './config-reads.ts';
import { selectionArgument, type SelectionOptions } from './config-selection.ts';
import { keyArgument } from './kv-options.ts';

/** Options of `holdfast config watch`. */
export interface WatchOptions extends SelectionOptions {
  from?: bigint;
  previous?: boolean;
  limit?: number;
}

/** `holdfast config watch`. */
export async function watch(key: string, options: WatchOptions): Promise<void> {
  const selection = selectionArgument(key, options) ?? keyArgument(key, options);
  const { from, previous, limit = Infinity } = options;
  await withCluster(options, async (client, hopeless) => {
    const interrupted = interruption(new AbortController().signal);
    const watching = client.config.watch(selection, { from, previous, signal: hopeless });
    interrupted.addEventListener('abort', () => watching.close(), { once: true });
    await watching.started();
    if (process.stderr.isTTY) await printError('watching; Ctrl-C ends it');
    let told = 0;
    for await (const item of watching) {
      const lines = linesOf(item, options).slice(0, limit - told);
      await print(lines.join(''));
      if (item.type === 'changes') told += lines.length;
      if (told >= limit) return;
    }
  });
}

function linesOf(item: WatchItem, { json, previous }: WatchOptions): string[] {
  if (item.type === 'changes')
    return item.events.map((event) =>
      json ? `${JSON.stringify(eventJson(event, previous ?? false))}\n` : textLine(event),
    );
  if (item.type !== 'resync') return [];
  if (json) return [`${JSON.stringify({ type: 'resync', revision: String(item.revision) })}\n`];
  return [`RESYNC up to revision ${item.revision}: what changed before was compacted; read it anew\n`];
}

function eventJson({ type, entry, previous }: ConfigEvent, withPrevious: boolean): Record<string, unknown> {
  const changed =
    type === 'put'
      ? configEntryJson(entry)
      : { ...bytesJson('key', entry.keyBytes), mod_revision: String(entry.modRevision) };
  return { type, ...changed, ...(withPrevious && { previous: previous ? configEntryJson(previous) : null }) };
}

function textLine({ type, entry, revision }: ConfigEvent): string {
  const key = bytesText(entry.keyBytes);
  if (type === 'delete') return `DELETE ${revision}\t${key}\n`;
  return `PUT    ${revision}\t${key}\t${bytesText(entry.bytes)}\n`;
}
