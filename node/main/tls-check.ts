import { existsSync } from 'node:fs';
import { SystemClock } from '@holdfast/client/system-clock';
import { checkTlsFiles, datesProblem, readTlsFiles, type TlsSettings } from '../transport/tls-files.ts';
import type { ClusterConfig, NodeConfig } from './cluster-file.ts';
import { rfc3339 } from './rfc3339.ts';

/** What can be said of the TLS files of a cluster: what is wrong, and what else to know. */
export interface TlsReport {
  readonly problems: string[];
  readonly notes: string[];
}

/**
 * Checks the TLS files of every node whose files are on this machine. Those of others are
 * not expected here: a node's key has no business anywhere else.
 */
export async function checkTls({ nodes }: ClusterConfig): Promise<TlsReport> {
  const report: TlsReport = { problems: [], notes: [] };
  for (const node of nodes) if (node.tls !== undefined) await checkOne(node, node.tls, report);
  return report;
}

async function checkOne({ name }: NodeConfig, tls: TlsSettings, report: TlsReport): Promise<void> {
  const missing = [tls.cert, tls.key].filter((path) => !existsSync(path));
  if (missing.length > 0) {
    report.notes.push(`${name}: not checked, not on this machine: ${missing.join(', ')}`);
    return;
  }
  try {
    const facts = checkTlsFiles(await readTlsFiles(tls), tls);
    const problem = datesProblem(facts, new SystemClock().wallMs());
    if (problem !== undefined) report.problems.push(`${name}: the certificate in ${tls.cert} ${problem}`);
    else report.notes.push(`${name}: certificate valid until ${rfc3339(facts.notAfterMs)}`);
  } catch (error) {
    report.problems.push(`${name}: ${(error as Error).message}`);
  }
}
