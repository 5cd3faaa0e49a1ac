import { describeId } from '@holdfast/client/ids/id-layout';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { print, printJson, printTable } from '../output.ts';
import { rfc3339 } from '../rfc3339.ts';

/** Options of `holdfast id next` and `holdfast seq next`. */
export interface CountOptions extends ClusterOptions {
  count: number;
}

/** `holdfast id next`. */
export async function nextIds({ count, ...options }: CountOptions): Promise<void> {
  const { timeout } = options;
  const ids = await withCluster(options, (client, signal) => client.ids.nextMany(count, { timeout, signal }));
  if (options.json) return printJson({ ids: ids.map(String) });
  return print(ids.map((id) => `${id}\n`).join(''));
}

/** `holdfast id describe`. */
export async function describe(id: bigint, { json }: { json?: boolean }): Promise<void> {
  const { timeMs, worker, sequence } = describeId(id);
  const time = rfc3339(timeMs);
  if (json) return printJson({ id: String(id), time, time_ms: String(timeMs), worker, sequence });
  return printTable(['TIME', 'WORKER', 'SEQUENCE'], [[time, String(worker), String(sequence)]]);
}

/** `holdfast seq next`. */
export async function nextInSequence(name: string, { count, ...options }: CountOptions): Promise<void> {
  const first = await withCluster(options, (client, signal) =>
    client.sequence(name).next(count, { timeout: options.timeout, signal }),
  );
  if (options.json) return printJson({ sequence: name, first: String(first), count });
  return print(count === 1 ? `${first}\n` : `${first} to ${first + BigInt(count) - 1n}\n`);
}

/** `holdfast seq list`. */
export async function listSequences(options: ClusterOptions): Promise<void> {
  const sequences = await withCluster(options, (client, signal) => client.sequences({ signal }));
  const rows = sequences.map(({ name, last }) => ({ name, last: String(last) }));
  if (options.json) return printJson({ sequences: rows });
  return printTable(
    ['NAME', 'LAST'],
    rows.map(({ name, last }) => [name, last]),
  );
}
