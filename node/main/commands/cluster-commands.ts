import type { Command } from 'commander';
import type { ExitCode } from '../exit-code.ts';
import { askingCluster, withExamples, withJson } from './command-options.ts';

/** Adds `holdfast start`, `check` and `cluster …`. */
export function addClusterCommands(program: Command, setExitCode: (code: ExitCode) => void): void {
  addStart(program, setExitCode);
  addCheck(program, setExitCode);
  const cluster = program.command('cluster').description('see how the cluster fares');
  withExamples(cluster, 'holdfast cluster status');
  addStatus(cluster, setExitCode);
}

function addStart(program: Command, setExitCode: (code: ExitCode) => void): void {
  const start = program.command('start').description('start the nodes of a cluster file, or one of them');
  withJson(start)
    .option('--config <file>', 'cluster file', 'cluster.yaml')
    .option('--node <name>', 'start only this node, in this process')
    .option('--data-dir <directory>', 'keep data in DIRECTORY/NAME (default: .holdfast/NAME beside the file)')
    .action(async (options) => setExitCode(await (await import('./start.ts')).start(options)));
  withExamples(
    start,
    'holdfast start',
    'holdfast start --node n1',
    'holdfast start --data-dir /var/lib/holdfast',
  );
}

function addCheck(program: Command, setExitCode: (code: ExitCode) => void): void {
  const check = program.command('check').description('say what is wrong with a cluster file');
  withJson(check.argument('[file]', 'cluster file (default: cluster.yaml)'))
    .option('--config <file>', 'the same as FILE')
    .action(async (file, options) => setExitCode(await (await import('./check.ts')).check(file, options)));
  withExamples(check, 'holdfast check', 'holdfast check /etc/holdfast/cluster.yaml --json');
}

function addStatus(cluster: Command, setExitCode: (code: ExitCode) => void): void {
  const status = cluster.command('status').description('list the nodes and what each is doing');
  askingCluster(status).action(async (options) => {
    setExitCode(await (await import('./cluster-status.ts')).status(options));
  });
  withExamples(status, 'holdfast cluster status', 'holdfast cluster status --json');
}
