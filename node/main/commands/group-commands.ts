import { type Command, InvalidArgumentError, Option } from 'commander';
import { time } from './arguments.ts';
import { askingCluster, withExamples } from './command-options.ts';

/** Adds `holdfast group …`. */
export function addGroupCommands(program: Command): void {
  const group = program.command('group').description('consumer groups: who reads what, and how far they are');
  withExamples(group, 'holdfast group list', 'holdfast group describe billing');
  addList(group);
  addDescribe(group);
  addReset(group);
  addDelete(group);
}

function addList(group: Command): void {
  const list = group.command('list').description('list the groups');
  askingCluster(list).action(async (options) => (await import('./groups.ts')).list(options));
  withExamples(list, 'holdfast group list', 'holdfast group list --json');
}

function addDescribe(group: Command): void {
  const describe = group.command('describe <name>').description('show members, offsets and lag');
  askingCluster(describe).action(async (name, options) =>
    (await import('./groups.ts')).describe(name, options),
  );
  withExamples(describe, 'holdfast group describe billing', 'holdfast group describe billing --json');
}

function addReset(group: Command): void {
  const reset = group
    .command('reset <name> <topic>')
    .description('set where a group goes on in a topic; it must have no members');
  askingCluster(reset)
    .addOption(new Option('--to <where>', 'first or behind the last record').choices(['earliest', 'latest']))
    .option('--to-time <time>', 'first record at or after this time: 2026-11-22T10:00:00Z', time)
    .option('--to-offset <offset>', 'this offset, or the nearest that there is', offset)
    .option('--partition <number...>', 'only these partitions', partitions)
    .option('--dry-run', 'only say what would be done')
    .action(async (name, topic, options) => (await import('./groups.ts')).reset(name, topic, options));
  withExamples(
    reset,
    'holdfast group reset billing orders --to earliest --dry-run',
    'holdfast group reset billing orders --to-time 2026-11-22T10:00:00Z',
  );
}

function addDelete(group: Command): void {
  const remove = group
    .command('delete <name>')
    .description('delete a group without members, and its offsets');
  askingCluster(remove).action(async (name, options) => (await import('./groups.ts')).remove(name, options));
  withExamples(remove, 'holdfast group delete billing', 'holdfast group delete billing --json');
}

function partitions(text: string, before: number[] = []): number[] {
  return [...before, offset(text)];
}

function offset(text: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
  if (Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('Allowed are whole numbers.');
}
