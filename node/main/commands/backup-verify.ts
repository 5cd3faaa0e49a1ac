import { type BackupSummary, summaryJson, verifyBackup } from '../backup-file.ts';
import { print, printJson, printTable } from '../output.ts';
import { rfc3339 } from '../rfc3339.ts';

/** `holdfast backup verify`. */
export async function verify(path: string, { json }: { json?: boolean }): Promise<void> {
  const summary = await verifyBackup(path, json);
  if (json) return printJson(summaryJson(path, summary));
  await printSummary(`${path} is whole`, summary);
}

/** Says what a file has. */
export async function printSummary(title: string, summary: BackupSummary): Promise<void> {
  const { header, keyspaces, bytes, sha256 } = summary;
  const cluster = header.cluster_id === '' ? '' : ` of cluster ${header.cluster_id}`;
  await print(`${title}: ${bytes} bytes, saved ${rfc3339(header.time_ms)}${cluster}\nsha256 ${sha256}\n\n`);
  await printTable(
    ['KEYSPACE', 'PARTITIONS', 'ENTRIES', 'FENCES'],
    header.keyspaces.map(({ name, partitions }, at) => {
      const { entries, fences } = keyspaces[at]!;
      return [name, ...[partitions.length, entries, fences].map(String)];
    }),
  );
}
