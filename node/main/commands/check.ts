import { type ClusterConfig, ClusterFileError, loadClusterFile } from '../cluster-file.ts';
import { usageFailure } from '../command-failure.ts';
import { ExitCode } from '../exit-code.ts';
import { print, printError, printJson } from '../output.ts';

/** `holdfast check`. */
export async function check(
  file: string | undefined,
  options: { config?: string; json?: boolean },
): Promise<ExitCode> {
  if (file !== undefined && options.config !== undefined) {
    throw usageFailure('the file is given twice: leave out FILE or --config');
  }
  const path = file ?? options.config ?? 'cluster.yaml';
  const { config, problems } = checked(path);
  if (options.json) await printJson({ ok: config !== undefined, problems });
  else if (config === undefined) await printError(problems.join('\n'));
  else await print(`${path} is right: cluster ${config.cluster}, ${nodeNames(config)}\n`);
  return config === undefined ? ExitCode.USAGE : ExitCode.DONE;
}

function checked(path: string): { config: ClusterConfig | undefined; problems: readonly string[] } {
  try {
    return { config: loadClusterFile(path), problems: [] };
  } catch (error) {
    if (!(error instanceof ClusterFileError)) throw error;
    return { config: undefined, problems: error.problems };
  }
}

function nodeNames({ nodes }: ClusterConfig): string {
  return `${nodes.length === 1 ? 'node' : 'nodes'} ${nodes.map(({ name }) => name).join(', ')}`;
}
