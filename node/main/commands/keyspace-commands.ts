import { type Command, Option } from 'commander';
import { count } from './arguments.ts';
import { askingCluster, withExamples } from './command-options.ts';

/** Adds `holdfast keyspace …`. */
export function addKeyspaceCommands(program: Command): void {
  const keyspace = program.command('keyspace').description('create, describe, list and drop keyspaces');
  withExamples(keyspace, 'holdfast keyspace create orders', 'holdfast keyspace list');
  addCreate(keyspace);
  addDescribe(keyspace);
  addList(keyspace);
  addDrop(keyspace);
}

function addCreate(keyspace: Command): void {
  const create = keyspace
    .command('create <name>')
    .description('create a keyspace; names are [a-z0-9._-]{1,64}');
  askingCluster(create)
    .addOption(new Option('--mode <mode>', 'how data is kept').choices(['raft', 'quorum']).default('raft'))
    .option('--partitions <count>', 'a power of two, 1 to 1024 (default: 8)', count)
    .option('--replication <count>', 'copies of each partition, 1 to 7 (default: 3)', count)
    .option('--max-key-bytes <count>', 'greatest key, 1 to 65536 (default: 4096)', count)
    .option('--max-value-bytes <count>', 'greatest value, 1 to 4194304 (default: 1048576)', count)
    .action(async (name, options) => (await import('./keyspaces.ts')).create(name, options));
  withExamples(
    create,
    'holdfast keyspace create orders',
    'holdfast keyspace create small --partitions 1 --json',
  );
}

function addDescribe(keyspace: Command): void {
  const describe = keyspace
    .command('describe <name>')
    .description('show a keyspace, its limits and partitions');
  askingCluster(describe).action(async (name, options) =>
    (await import('./keyspaces.ts')).describe(name, options),
  );
  withExamples(describe, 'holdfast keyspace describe default', 'holdfast keyspace describe default --json');
}

function addList(keyspace: Command): void {
  const list = keyspace.command('list').description('list the keyspaces');
  askingCluster(list).action(async (options) => (await import('./keyspaces.ts')).list(options));
  withExamples(list, 'holdfast keyspace list', 'holdfast keyspace list --json');
}

function addDrop(keyspace: Command): void {
  const drop = keyspace.command('drop <name>').description('drop a keyspace and all its data, for good');
  askingCluster(drop).action(async (name, options) => (await import('./keyspaces.ts')).drop(name, options));
  withExamples(drop, 'holdfast keyspace drop orders', 'holdfast keyspace drop orders --json');
}
