import type { Command } from 'commander';
import type { ExitCode } from '../exit-code.ts';
import { integer } from './arguments.ts';
import { askingCluster, withExamples, withJson } from './command-options.ts';

/** Adds `holdfast start`, `check` and `cluster …`. */
export function addClusterCommands(program: Command, setExitCode: (code: ExitCode) => void): void {
  addStart(program, setExitCode);
  addCheck(program, setExitCode);
  const cluster = program.command('cluster').description('see how the cluster fares, and change its members');
  withExamples(cluster, 'holdfast cluster status', 'holdfast cluster members');
  addStatus(cluster, setExitCode);
  addMembers(cluster);
  addAdd(cluster);
  addRemove(cluster);
  addReplace(cluster);
  addTransfer(cluster);
}

function addStart(program: Command, setExitCode: (code: ExitCode) => void): void {
  const start = program.command('start').description('start the nodes of a cluster file, or one of them');
  withJson(start)
    .option('--config <file>', 'cluster file', 'cluster.yaml')
    .option('--node <name>', 'start only this node, in this process')
    .option('--data-dir <directory>', 'keep data in DIRECTORY/NAME (default: .holdfast/NAME beside the file)')
    .option(
      '--join <addresses>',
      'join the cluster of the node at this host:port of gRPC, or of several with commas; starts one node, which no file need name',
    )
    .option(
      '--grpc <address>',
      'with --join: host:port to listen on, where others reach it (default: as the file says, else a free one)',
    )
    .option('--http <address>', 'with --join: host:port of its HTTP port (default: likewise)')
    .option('--zone <name>', 'with --join: where it stands (default: as the file says)')
    .option('--user <name>', 'with --join: who asks a cluster with permissions (default: HOLDFAST_USER)')
    .option(
      '--password-file <file>',
      'with --join: file with the password of the user (default: HOLDFAST_PASSWORD_FILE, else HOLDFAST_PASSWORD)',
    )
    .action(async (options) => setExitCode(await (await import('./start.ts')).start(options)));
  withExamples(
    start,
    'holdfast start',
    'holdfast start --node n1',
    'holdfast start --data-dir /var/lib/holdfast',
    'holdfast start --join 127.0.0.1:7401',
    'holdfast start --join 10.0.0.1:7401 --node n4 --grpc 10.0.0.4:7401 --http 10.0.0.4:7501',
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

function addMembers(cluster: Command): void {
  const members = cluster
    .command('members')
    .description('list the members, what each seems to be, and what is on its way between them');
  askingCluster(members)
    .option('--watch', 'go on and print what changes; with --json the whole list each time')
    .action(async (options) => (await import('./cluster-members.ts')).members(options));
  withExamples(
    members,
    'holdfast cluster members',
    'holdfast cluster members --json',
    'holdfast cluster members --watch',
  );
}

function addAdd(cluster: Command): void {
  const add = cluster
    .command('add <name>')
    .description('take in a node that was started with an empty directory and waits to be added');
  reachedAt(askingCluster(add)).action(async (name, options) =>
    (await import('./cluster-members.ts')).add(name, options),
  );
  withExamples(add, 'holdfast cluster add n4 --grpc 10.0.0.4:7401 --http 10.0.0.4:7501');
}

function addRemove(cluster: Command): void {
  const remove = cluster
    .command('remove <name>')
    .description('move everything away from a member, and let it go');
  askingCluster(remove)
    .option('--allow-fewer-copies', 'also when keyspaces keep fewer copies then')
    .action(async (name, options) => (await import('./cluster-members.ts')).remove(name, options));
  withExamples(remove, 'holdfast cluster remove n4', 'holdfast cluster remove n3 --allow-fewer-copies');
}

function addReplace(cluster: Command): void {
  const replace = cluster
    .command('replace <old> <name>')
    .description('take in a new node in place of a member that is gone for good');
  reachedAt(askingCluster(replace)).action(async (old, name, options) =>
    (await import('./cluster-members.ts')).replace(old, name, options),
  );
  withExamples(replace, 'holdfast cluster replace n2 n4 --grpc 10.0.0.4:7401 --http 10.0.0.4:7501');
}

function addTransfer(cluster: Command): void {
  const transfer = cluster
    .command('transfer <name>')
    .description('hand what a node leads to others; it takes none back for a minute');
  askingCluster(transfer)
    .option('--group <number>', 'hand over this group alone', integer)
    .option('--to <name>', 'with --group: to this node')
    .action(async (name, options) => (await import('./cluster-members.ts')).transfer(name, options));
  withExamples(transfer, 'holdfast cluster transfer n1', 'holdfast cluster transfer n1 --group 3 --to n2');
}

function reachedAt(command: Command): Command {
  return command
    .requiredOption('--grpc <address>', 'host:port at which nodes and clients reach it')
    .requiredOption('--http <address>', 'host:port of its HTTP port');
}
