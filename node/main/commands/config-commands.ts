import { type Command, Option } from 'commander';
import { count, revision } from './arguments.ts';
import { askingCluster, withExamples } from './command-options.ts';

/** Adds `holdfast config …`. */
export function addConfigCommands(program: Command): void {
  const config = program
    .command('config')
    .description('read, write and watch the configuration: a small tree that the whole cluster agrees on');
  withExamples(
    config,
    'holdfast config put app/timeout 30s',
    'holdfast config get app/timeout',
    'holdfast config watch app/ --prefix',
  );
  addGet(config);
  addPut(config);
  addDelete(config);
  addList(config);
  addWatch(config);
  addTransaction(config);
  addCompact(config);
  addStatus(config);
}

function keyCommand(config: Command, usage: string, description: string): Command {
  return askingCluster(config.command(usage).description(description)).option(
    '--base64-keys',
    'keys on the command line are base64',
  );
}

function reading(command: Command): Command {
  return command
    .option('--revision <revision>', 'as it was at this revision (default: now)', revision)
    .option('--stale', 'let the asked node answer at once, though it may be behind (default: linearizable)');
}

function ordering(command: Command): Command {
  return command
    .option('--limit <count>', 'greatest number of keys', count)
    .option('--keys-only', 'leave values out')
    .option('--descending', 'greatest first')
    .addOption(
      new Option('--sort-by <what>', 'another order; at most 10000 keys').choices([
        'key',
        'version',
        'create-revision',
        'mod-revision',
        'value',
      ]),
    );
}

function addGet(config: Command): void {
  const get = reading(
    keyCommand(config, 'get <key>', "print a key's value; exit code 1 if there is no such key"),
  );
  ordering(
    get
      .option('--prefix', 'instead all keys that begin with it, with their values, as list does')
      .option('--range-end <key>', 'instead all keys from KEY up to but not including this one')
      .option('--count-only', 'only print how many there are'),
  );
  get.action(async (key, options) => (await import('./config-reads.ts')).get(key, options));
  withExamples(
    get,
    'holdfast config get app/timeout',
    'holdfast config get app/timeout --json',
    'holdfast config get app/timeout --revision 120',
    'holdfast config get app/ --prefix --keys-only',
  );
}

function addPut(config: Command): void {
  const put = keyCommand(
    config,
    'put <key> [value]',
    'write a key, whatever it held before; - as VALUE: from standard input',
  );
  put
    .option('--file <file>', 'take the value from a file; - is standard input')
    .option('--lease <number>', 'lease that the key ends with', revision)
    .option('--if-revision <revision>', 'only if the key was last changed at this revision', revision)
    .option('--if-absent', 'only if there is no such key')
    .option(
      '--keep-lease',
      'the key keeps the lease that it has (default: it ends with none, or that of --lease)',
    )
    .option('--previous', 'print what was there before')
    .action(async (key, value, options) => (await import('./config-writes.ts')).put(key, value, options));
  withExamples(
    put,
    'holdfast config put app/timeout 30s',
    'holdfast config put app/leader me --if-absent --lease 17',
    'holdfast config put app/timeout 60s --if-revision 120 --json',
    'holdfast config put app/policy --file policy.json',
  );
}

function addDelete(config: Command): void {
  const del = keyCommand(
    config,
    'del <key>',
    'delete a key, or all with a prefix; a missing one is no error',
  );
  del
    .option('--prefix', 'all keys that begin with it')
    .option('--range-end <key>', 'all keys from KEY up to but not including this one')
    .option('--if-revision <revision>', 'only if the key was last changed at this revision', revision)
    .option('--previous', 'print what was deleted')
    .action(async (key, options) => (await import('./config-writes.ts')).del(key, options));
  withExamples(del, 'holdfast config del app/timeout', 'holdfast config del app/ --prefix --json');
}

function addList(config: Command): void {
  const list = reading(
    keyCommand(config, 'list [prefix]', 'print the keys and values of a prefix or range, in key order'),
  );
  ordering(
    list
      .option('--start <key>', 'first key')
      .option('--end <key>', 'key after the last')
      .option('--count', 'only print how many there are'),
  ).action(async (prefix, options) => (await import('./config-reads.ts')).list(prefix, options));
  withExamples(
    list,
    'holdfast config list app/',
    'holdfast config list --sort-by mod-revision --descending --limit 10',
    'holdfast config list app/ --json | jq .key',
  );
}

function addWatch(config: Command): void {
  const watch = keyCommand(
    config,
    'watch <key>',
    'print each change of a key as it happens, until interrupted',
  );
  watch
    .option('--prefix', 'of all keys that begin with it')
    .option('--range-end <key>', 'of all keys from KEY up to but not including this one')
    .option('--from <revision>', 'changes from this revision on (default: what comes after now)', revision)
    .option('--previous', 'with --json also what was there before')
    .option('--limit <count>', 'end after so many changes', count)
    .action(async (key, options) => (await import('./config-watch.ts')).watch(key, options));
  withExamples(
    watch,
    'holdfast config watch app/timeout',
    'holdfast config watch app/ --prefix --from 120 --json',
  );
}

function addTransaction(config: Command): void {
  const txn = askingCluster(
    config
      .command('txn [file]')
      .description(
        'compare and change several keys at one revision; a transaction as JSON, - is standard input',
      ),
  );
  txn.action(async (file, options) => (await import('./config-transaction.ts')).transact(file, options));
  txn.addHelpText(
    'after',
    `
A transaction is {"if": [condition, …], "then": [operation, …], "else": [operation, …]}.
Conditions: {"key": k, "exists": true}, {"key": k, "is": "=", "value": v}; instead of value also
  version, mod_revision, create_revision, lease; instead of key also prefix; is may be = != < >.
Operations: {"get": k}, {"list": {"prefix": p}}, {"put": k, "value": v, "lease": n},
  {"delete": k}, {"delete": {"prefix": p}}, {"transaction": {…}}. Put and delete may also say
  if_mod_revision and return_previous, put if_absent and keep_lease.
Numbers may stand as text, as --json shows them.
It prints the results as JSON, and ends with 0 whether or not the conditions held.`,
  );
  withExamples(
    txn,
    'holdfast config txn transaction.json',
    `echo '{"if":[{"key":"leader","exists":false}],"then":[{"put":"leader","value":"me"}]}' | holdfast config txn -`,
  );
}

function addCompact(config: Command): void {
  const compact = askingCluster(
    config
      .command('compact')
      .description('forget all history before a revision')
      .argument('<revision>', 'as get --json shows them', revision),
  );
  compact.action(async (before, options) => (await import('./config-writes.ts')).compact(before, options));
  withExamples(compact, 'holdfast config compact 120');
}

function addStatus(config: Command): void {
  const status = askingCluster(
    config.command('status').description('show revisions, number of keys, and size against the quota'),
  );
  status.action(async (options) => (await import('./config-reads.ts')).status(options));
  withExamples(status, 'holdfast config status', 'holdfast config status --json');
}
