import { type ClusterConfig, ClusterFileError, loadClusterFile } from '../cluster-file.ts';
import { usageFailure } from '../command-failure.ts';
import { ExitCode } from '../exit-code.ts';
import { print, printError, printJson } from '../output.ts';
import { checkTls } from '../tls-check.ts';

/** `holdfast check`. */
export async function check(
  file: string | undefined,
  options: { config?: string; json?: boolean },
): Promise<ExitCode> {
  if (file !== undefined && options.config !== undefined) {
    throw usageFailure('the file is given twice: leave out FILE or --config');
  }
  const path = file ?? options.config ?? 'cluster.yaml';
  const { config, problems, notes } = await checked(path);
  const isRight = problems.length === 0;
  if (options.json) await printJson({ ok: isRight, problems, ...(notes.length > 0 ? { notes } : {}) });
  else if (!isRight) await printError(problems.join('\n'));
  else await print([`${path} is right: ${summary(config!)}`, ...notes, ''].join('\n'));
  return isRight ? ExitCode.DONE : ExitCode.USAGE;
}

async function checked(path: string): Promise<{
  config: ClusterConfig | undefined;
  problems: readonly string[];
  notes: readonly string[];
}> {
  try {
    const config = loadClusterFile(path);
    return { config, ...(await checkTls(config)) };
  } catch (error) {
    if (!(error instanceof ClusterFileError)) throw error;
    return { config: undefined, problems: error.problems, notes: [] };
  }
}

function summary({ cluster, nodes }: ClusterConfig): string {
  return `cluster ${cluster}, ${nodes.length === 1 ? 'node' : 'nodes'} ${nodes.map(({ name }) => name).join(', ')}`;
}
