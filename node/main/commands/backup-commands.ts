import type { Command } from 'commander';
import { askingCluster, withExamples, withJson } from './command-options.ts';

/** Adds `holdfast backup …`. */
export function addBackupCommands(program: Command): void {
  const backup = program.command('backup').description('save keyspaces to a file, verify one, restore one');
  withExamples(
    backup,
    'holdfast backup save monday.hfb',
    'holdfast backup verify monday.hfb',
    'holdfast backup restore monday.hfb',
  );
  addSave(backup);
  addVerify(backup);
  addRestore(backup);
}

function addSave(backup: Command): void {
  const save = backup
    .command('save <file>')
    .description('save keyspaces to a file, while the cluster goes on');
  askingCluster(save)
    .option('--keyspace <name...>', 'these keyspaces (default: all)')
    .option('--force', 'replace the file if it exists')
    .action(async (file, options) => (await import('./backup-save.ts')).save(file, options));
  withExamples(
    save,
    'holdfast backup save monday.hfb',
    'holdfast backup save orders.hfb --keyspace orders --json',
  );
}

function addVerify(backup: Command): void {
  const verify = backup
    .command('verify <file>')
    .description('read all of a file and say what it has; exit code 1 if it is not whole');
  withJson(verify).action(async (file, options) =>
    (await import('./backup-verify.ts')).verify(file, options),
  );
  withExamples(verify, 'holdfast backup verify monday.hfb', 'holdfast backup verify monday.hfb --json');
}

function addRestore(backup: Command): void {
  const restore = backup
    .command('restore <file>')
    .description('create the keyspaces of a file; refuses a file that is not whole and names that exist');
  askingCluster(restore)
    .option('--keyspace <name...>', 'these keyspaces of the file (default: all)')
    .option('--as <name>', 'another name, for one keyspace')
    .action(async (file, options) => (await import('./backup-restore.ts')).restore(file, options));
  withExamples(
    restore,
    'holdfast backup restore monday.hfb',
    'holdfast backup restore monday.hfb --keyspace orders --as orders-monday',
  );
}
