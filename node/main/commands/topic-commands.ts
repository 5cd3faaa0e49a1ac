import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseByteSize } from '../byte-size.ts';
import { count, duration, time } from './arguments.ts';
import { askingCluster, withExamples } from './command-options.ts';

/** Adds `holdfast topic …`. */
export function addTopicCommands(program: Command): void {
  const topic = program.command('topic').description('topics: create, alter, produce and consume');
  withExamples(topic, 'holdfast topic create orders --partitions 12', 'holdfast topic describe orders');
  addCreate(topic);
  addAlter(topic);
  addDescribe(topic);
  addList(topic);
  addDelete(topic);
  addProduce(topic);
  addConsume(topic);
}

function addCreate(topic: Command): void {
  const create = topic.command('create <name>').description('create a topic; names are [a-z0-9._-]{1,64}');
  withSettings(askingCluster(create))
    .option('--partitions <count>', '1 to 1024 (default: 1)', count)
    .option(
      '--replication <count>',
      'copies of each partition, 1 to 7 (default: 3, or one on each node)',
      count,
    )
    .action(async (name, options) => (await import('./topics.ts')).create(name, options));
  withExamples(
    create,
    'holdfast topic create orders --partitions 12 --retention 30d',
    'holdfast topic create profiles --cleanup compact',
  );
}

function addAlter(topic: Command): void {
  const alter = topic
    .command('alter <name>')
    .description('change settings, in force at once, or add partitions');
  withSettings(askingCluster(alter))
    .option('--partitions <count>', 'at least as many as there are', count)
    .action(async (name, options) => (await import('./topics.ts')).alter(name, options));
  withExamples(
    alter,
    'holdfast topic alter orders --retention 2d',
    'holdfast topic alter orders --partitions 24',
  );
}

function addDescribe(topic: Command): void {
  const describe = topic.command('describe <name>').description('show a topic and what its partitions hold');
  askingCluster(describe).action(async (name, options) =>
    (await import('./topics.ts')).describe(name, options),
  );
  withExamples(describe, 'holdfast topic describe orders', 'holdfast topic describe orders --json');
}

function addList(topic: Command): void {
  const list = topic.command('list').description('list the topics');
  askingCluster(list).action(async (options) => (await import('./topics.ts')).list(options));
  withExamples(list, 'holdfast topic list', 'holdfast topic list --json');
}

function addDelete(topic: Command): void {
  const remove = topic.command('delete <name>').description('delete a topic and all its records, for good');
  askingCluster(remove).action(async (name, options) => (await import('./topics.ts')).remove(name, options));
  withExamples(remove, 'holdfast topic delete orders', 'holdfast topic delete orders --json');
}

function addProduce(topic: Command): void {
  const produce = topic
    .command('produce <name> [value]')
    .description('send a record, or one for each line of a file or of stdin');
  askingCluster(produce)
    .option('--file <file>', 'take the lines from this file, - for stdin (default: stdin)')
    .addOption(
      new Option(
        '--lines <form>',
        'what a line is: the value, or {"key":…,"value":…,"headers":…,"partition":…,"time_ms":…} (default: text)',
      ).choices(['text', 'json']),
    )
    .option('--record-key <key>', 'key of the records')
    .option('--partition <number>', 'partition of the records (default: by key, else in turn)', whole)
    .addOption(
      new Option('--acks <when>', 'when a record counts as sent (default: majority)').choices([
        'majority',
        'leader',
      ]),
    )
    .addOption(
      new Option('--compression <kind>', 'of batches (default: none)').choices(['none', 'gzip', 'zstd']),
    )
    .action(async (name, value, options) =>
      (await import('./topic-produce.ts')).produce(name, value, options),
    );
  withExamples(
    produce,
    'holdfast topic produce orders "two pizzas" --record-key ada',
    'holdfast topic produce web-log --file access.log --compression zstd',
  );
}

function addConsume(topic: Command): void {
  const consume = topic
    .command('consume <name...>')
    .description('print records, to the present end or for ever');
  askingCluster(consume)
    .option('--group <name>', 'read as a member of this group, which remembers how far it came')
    .option('--instance <id>', 'as a static member of the group')
    .option('--from <where>', 'earliest, latest, or a time with its zone (default: earliest)', position)
    .option('--follow', 'go on with what comes')
    .option('--limit <count>', 'end after so many records', count)
    .option(
      '--format <text>',
      '%t topic, %p partition, %o offset, %T time, %k key, %v value, %h headers (default: %v)',
    )
    .action(async (names, options) => (await import('./topic-consume.ts')).consume(names, options));
  withExamples(
    consume,
    'holdfast topic consume orders',
    'holdfast topic consume orders --follow --group billing --format "%p@%o %k %v"',
  );
}

function withSettings(command: Command): Command {
  return command
    .addOption(
      new Option('--cleanup <policy>', 'what becomes of old records (default: delete)').choices([
        'delete',
        'compact',
        'compact-and-delete',
      ]),
    )
    .option('--retention <duration>', 'age at which records go, 0 for never (default: 7d)', duration)
    .option(
      '--retention-bytes <size>',
      'size of a partition at which the oldest go, 0 for never (default: 0)',
      size,
    )
    .option('--segment-bytes <size>', 'size of its files, 1MiB to 1GiB (default: 64MiB)', size)
    .option(
      '--segment-age <duration>',
      'age at which a file takes no more, from 1m on (default: 7d)',
      duration,
    )
    .option('--max-batch-bytes <size>', 'greatest batch, 1KiB to 4MiB (default: 1MiB)', size)
    .option(
      '--delete-retention <duration>',
      'how long a deletion can be read when compacted (default: 1d)',
      duration,
    )
    .option(
      '--min-dirty-percent <count>',
      'share of new bytes that begins a compaction (default: 50)',
      count,
    );
}

function whole(text: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('Allowed are whole numbers.');
}

function position(text: string): 'earliest' | 'latest' | Date {
  if (text === 'earliest' || text === 'latest') return text;
  try {
    return time(text);
  } catch {
    throw new InvalidArgumentError(
      'Allowed are earliest, latest, and a time with its zone, such as 2026-11-22T10:00:00Z.',
    );
  }
}

function size(text: string): number {
  const bytes = parseByteSize(/^\d+$/.test(text) ? Number(text) : text);
  if (bytes !== undefined) return bytes;
  throw new InvalidArgumentError('Allowed are whole numbers of bytes, or 64KiB, 16MiB, 2GiB.');
}
