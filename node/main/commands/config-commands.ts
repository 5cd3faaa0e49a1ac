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

function selecting(command: Command): Command {
  return command
    .option('--limit <count>', 'greatest number of keys', count)
    .option('--keys-only', 'leave values out')
    .option('--count-only', 'only print how many there are')
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
  ).option('--prefix', 'all keys that begin with it, as list does');
  selecting(get);
  get.action(async (key, options) => (await import('./config-reads.ts')).get(key, options));
  withExamples(
    get,
    'holdfast config get app/timeout',
    'holdfast config get app/timeout --json',
    'holdfast config get app/timeout --revision 120',
    'holdfast config get app/ --prefix --count-only',
  );
}

function addPut(config: Command): void {
  const put = keyCommand(config, 'put <key> [value]', 'write a key; as value, - is standard input');
  put
    .option('--file <file>', 'take the value from a file; - is standard input')
    .option('--lease <number>', 'lease that the key ends with', revision)
    .option('--if-revision <revision>', 'only if the key was last changed at this revision', revision)
    .option('--if-absent', 'only if there is no such key')
    .option('--previous', 'print what was there before')
    .action(async (key, value, options) => (await import('./config-writes.ts')).put(key, value, options));
  withExamples(
    put,
    'holdfast config put app/timeout 30s',
    'holdfast config put app/leader me --if-absent --lease 17',
    'holdfast config put app/timeout 60s --if-revision 120 --json',
    'holdfast config put app/policy - < policy.json',
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
    .option('--if-revision <revision>', 'only if the key was last changed at this revision', revision)
    .option('--previous', 'print what was deleted')
    .action(async (key, options) => (await import('./config-writes.ts')).del(key, options));
  withExamples(del, 'holdfast config del app/timeout', 'holdfast config del app/ --prefix --json');
}

function addList(config: Command): void {
  const list = reading(
    keyCommand(config, 'list [prefix]', 'print the keys and values of a prefix or range, in key order'),
  );
  list.option('--start <key>', 'first key').option('--end <key>', 'key after the last');
  selecting(list).action(async (prefix, options) =>
    (await import('./config-reads.ts')).list(prefix, options),
  );
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
    .option('--from <revision>', 'changes from this revision on (default: what comes after now)', revision)
    .option('--previous', 'show what was there before, too')
    .option('--limit <count>', 'end after so many changes', count)
    .action(async (key, options) => (await import('./config-watch.ts')).watch(key, options));
  withExamples(
    watch,
    'holdfast config watch app/timeout',
    'holdfast config watch app/ --prefix --from 120 --json',
  );
  watch.addHelpText(
    'after',
    `
Each line is PUT or DELETE and the revision, the key, and the value, with tabs between; --previous
adds what was there before. --json: one object a line, {"type": "put" | "delete", …}. When changes
were compacted before they could be told, a line RESYNC (with --json {"type": "resync"}) says up to
which revision: read anew what there is, and go on with what follows. Ended by a signal: exit code 0.`,
  );
}

function addTransaction(config: Command): void {
  const txn = keyCommand(
    config,
    'txn [file]',
    'compare and change several keys at one revision; a transaction as JSON, - is standard input',
  );
  txn.action(async (file, options) => (await import('./config-transaction.ts')).transact(file, options));
  txn.addHelpText(
    'after',
    `
A transaction is {"if": [condition, …], "then": [operation, …], "else": [operation, …]}: "then" is
done if all conditions hold, or if there are none.
Conditions, on {"key": k}, {"prefix": p} or {"start": k, "end": k}, with one of
  "exists": true | false
  "value": v, "version": n, "createRevision": n, "modRevision": n, "lease": n,
  and "is": "=" (the default), "!=", "<" or ">".
Operations:
  {"get": k}
  {"list": {"prefix": p}, "limit": n, "keysOnly": b, "sortBy": "modRevision", "descending": b}
  {"put": k, "value": v, "lease": n, "ifModRevision": n, "ifAbsent": b, "keepLease": b, "returnPrevious": b}
  {"delete": k or {"prefix": p}, "ifModRevision": n, "returnPrevious": b}
  {"transaction": {…}}
A value that is not text is written as JSON; "value_base64" in place of "value" is bytes. Numbers
above 2^53 are given as text. --base64-keys is for all keys of the transaction.
It prints the results as JSON, and ends with 0 whether or not the conditions held.`,
  );
  withExamples(
    txn,
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
