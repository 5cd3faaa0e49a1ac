import type { Command } from 'commander';
import { count, duration, integer, version } from './arguments.ts';
import { askingCluster, withExamples } from './command-options.ts';

/** Adds `holdfast kv …`. */
export function addKvCommands(program: Command): void {
  const kv = program.command('kv').description('read and write keys');
  withExamples(kv, 'holdfast kv put user/1 Ada', 'holdfast kv get user/1', 'holdfast kv scan user/');
  addGet(kv);
  addPut(kv);
  addCreate(kv);
  addCas(kv);
  addIncrement(kv);
  addDelete(kv);
  addScan(kv);
}

function keyCommand(kv: Command, usage: string, description: string): Command {
  return askingCluster(kv.command(usage).description(description))
    .option('--keyspace <name>', 'keyspace', 'default')
    .option('--base64-keys', 'keys on the command line are base64');
}

function withValue(command: Command): Command {
  return command
    .option('--file <file>', 'take the value from a file; - is standard input')
    .option('--ttl <duration>', 'time to live: 500ms, 30s, 5m, 1h, 7d (default: for ever)', duration);
}

function addGet(kv: Command): void {
  const get = keyCommand(kv, 'get <key>', "print a key's value; exit code 1 if there is no such key");
  get.option(
    '--max-staleness <duration>',
    'let any replica answer at once whose data is at most so old, such as 500ms (default: linearizable)',
    duration,
  );
  get.action(async (key, options) => (await import('./kv-reads.ts')).get(key, options));
  withExamples(
    get,
    'holdfast kv get user/1',
    'holdfast kv get user/1 --json',
    'holdfast kv get user/1 --max-staleness 500ms',
    'holdfast kv get photo > photo.jpg',
  );
}

function addPut(kv: Command): void {
  const put = withValue(keyCommand(kv, 'put <key> [value]', 'write a key, whatever it held before'));
  put.action(async (key, value, options) => (await import('./kv-writes.ts')).put(key, value, options));
  withExamples(
    put,
    'holdfast kv put user/1 Ada',
    'holdfast kv put session/7 open --ttl 1h',
    'holdfast kv put photo --file photo.jpg',
    'date | holdfast kv put now --file -',
  );
}

function addCreate(kv: Command): void {
  const create = withValue(keyCommand(kv, 'create <key> [value]', 'write a key only if it does not exist'));
  create.action(async (key, value, options) => (await import('./kv-writes.ts')).create(key, value, options));
  withExamples(create, 'holdfast kv create user/1 Ada', 'holdfast kv create lock mine --ttl 30s --json');
}

function addCas(kv: Command): void {
  const cas = keyCommand(kv, 'cas <key> [value]', 'write a key only if it is as expected (compare and set)');
  withValue(cas)
    .option('--if-version <version>', 'expected version', version)
    .option('--if-value <value>', 'expected value')
    .action(async (key, value, options) =>
      (await import('./kv-writes.ts')).compareAndSet(key, value, options),
    );
  withExamples(
    cas,
    'holdfast kv cas user/1 Eve --if-version 12',
    'holdfast kv cas user/1 Eve --if-value Ada',
  );
}

function addIncrement(kv: Command): void {
  const increment = keyCommand(
    kv,
    'incr <key>',
    'add to a counter and print the sum; a missing key counts as 0',
  )
    .option('--by <number>', 'what to add; may be negative (default: 1)', integer)
    .option('--ttl <duration>', 'new time to live (default: as it is)', duration);
  increment.action(async (key, options) => (await import('./kv-writes.ts')).increment(key, options));
  withExamples(increment, 'holdfast kv incr visits', 'holdfast kv incr stock --by -3 --json');
}

function addDelete(kv: Command): void {
  const del = keyCommand(kv, 'del <key>', 'delete a key; a missing one is no error');
  del
    .option('--if-version <version>', 'delete only if the key has this version', version)
    .action(async (key, options) => (await import('./kv-writes.ts')).del(key, options));
  withExamples(del, 'holdfast kv del user/1', 'holdfast kv del user/1 --if-version 12 --json');
}

function addScan(kv: Command): void {
  const scan = keyCommand(kv, 'scan [prefix]', 'print the keys and values of a prefix or range, in key order')
    .option('--start <key>', 'first key')
    .option('--end <key>', 'key after the last')
    .option('--limit <count>', 'greatest number of keys', count)
    .option('--keys-only', 'leave values out');
  scan.action(async (prefix, options) => (await import('./kv-reads.ts')).scan(prefix, options));
  withExamples(
    scan,
    'holdfast kv scan user/',
    'holdfast kv scan --start a --end b --limit 10',
    'holdfast kv scan user/ --json | jq .key',
  );
}
