import { type Command, InvalidArgumentError } from 'commander';
import { count } from './arguments.ts';
import { askingCluster, withExamples, withJson } from './command-options.ts';

/** Adds `holdfast id …`. */
export function addIdCommands(program: Command): void {
  const id = program.command('id').description('make unique IDs and take them apart');
  withExamples(id, 'holdfast id next', 'holdfast id describe 854558029292503040');
  const next = id.command('next').description('print new IDs, one a line');
  askingCluster(next)
    .option('--count <count>', 'how many, 1 to 65536', count, 1)
    .action(async (options) => (await import('./ids.ts')).nextIds(options));
  withExamples(next, 'holdfast id next', 'holdfast id next --count 100 --json');
  const describe = id
    .command('describe')
    .description('show when and by which worker an ID was made')
    .argument('<id>', 'the ID', wholeNumber);
  withJson(describe).action(async (what, options) => (await import('./ids.ts')).describe(what, options));
  withExamples(
    describe,
    'holdfast id describe 854558029292503040',
    'holdfast id describe 854558029292503040 --json',
  );
}

/** Adds `holdfast seq …`. */
export function addSequenceCommands(program: Command): void {
  const seq = program.command('seq').description('take numbers of named sequences, and list them');
  withExamples(seq, 'holdfast seq next invoice', 'holdfast seq list');
  const next = seq
    .command('next <name>')
    .description('take the next numbers of a sequence; names are [a-z0-9._-]{1,64}');
  askingCluster(next)
    .option('--count <count>', 'how many, 1 to 1000000', count, 1)
    .action(async (name, options) => (await import('./ids.ts')).nextInSequence(name, options));
  withExamples(next, 'holdfast seq next invoice', 'holdfast seq next invoice --count 100 --json');
  const list = seq.command('list').description('list the sequences and the last number of each');
  askingCluster(list).action(async (options) => (await import('./ids.ts')).listSequences(options));
  withExamples(list, 'holdfast seq list', 'holdfast seq list --json');
}

/** Whether it is an ID is for the client to say. */
function wholeNumber(text: string): bigint {
  if (/^\d{1,20}$/.test(text)) return BigInt(text);
  throw new InvalidArgumentError('Allowed are whole numbers.');
}
