import { type Command, Option } from 'commander';
import { count, duration, revision } from './arguments.ts';
import { askingCluster, withExamples } from './command-options.ts';

/** Adds `holdfast lease …`, `holdfast lock …` and `holdfast elect`. */
export function addSessionCommands(program: Command, setExitCode: (code: number) => void): void {
  addLease(program);
  addLock(program, setExitCode);
  addElect(program, setExitCode);
}

function addLease(program: Command): void {
  const lease = program
    .command('lease')
    .description('grant leases: times to live that keys, locks and candidacies hang on');
  withExamples(lease, 'holdfast lease grant --ttl 60s', 'holdfast lease list');
  const grant = askingCluster(lease.command('grant').description('grant a lease and print its number'));
  grant
    .option('--ttl <duration>', 'time to live, 1s to 24h (default: 10s)', duration)
    .option('--name <text>', 'shown to people: who holds it')
    .action(async (options) => (await import('./leases.ts')).grant(options));
  withExamples(grant, 'holdfast lease grant --ttl 60s --name deploy-7', 'holdfast lease grant --json');
  const keep = leaseCommand(lease, 'keep-alive', 'keep a lease alive until interrupted');
  keep
    .option('--once', 'give it its whole time anew once')
    .action(async (id, options) => (await import('./leases.ts')).keepAlive(id, options));
  withExamples(keep, 'holdfast lease keep-alive 17', 'holdfast lease keep-alive 17 --once');
  const revoke = leaseCommand(lease, 'revoke', 'end a lease and everything that hangs on it');
  revoke.action(async (id, options) => (await import('./leases.ts')).revoke(id, options));
  withExamples(revoke, 'holdfast lease revoke 17');
  const describe = leaseCommand(lease, 'describe', 'show what a lease has left, and what hangs on it');
  describe.action(async (id, options) => (await import('./leases.ts')).describe(id, options));
  withExamples(describe, 'holdfast lease describe 17 --json');
  const list = askingCluster(lease.command('list').description('list the leases'));
  list.action(async (options) => (await import('./leases.ts')).list(options));
  withExamples(list, 'holdfast lease list');
}

function leaseCommand(lease: Command, name: string, description: string) {
  const command = lease.command(name).description(description).argument('<lease>', 'its number', revision);
  askingCluster(command);
  return command;
}

function addLock(program: Command, setExitCode: (code: number) => void): void {
  const lock = program.command('lock').description('hold locks, and see who does');
  withExamples(lock, 'holdfast lock run nightly -- ./backup.sh', 'holdfast lock list');
  const run = askingCluster(
    lock
      .command('run')
      .description('take a lock, run a command while it is held, and release it')
      .argument('<name>', 'of the lock')
      .argument('<command...>', 'behind --: the command and its arguments'),
  );
  run
    .addOption(
      new Option('--mode <mode>', 'how to hold it (default: exclusive, or semaphore with --permits)').choices(
        ['exclusive', 'shared', 'semaphore'],
      ),
    )
    .option('--shared', 'the same as --mode shared: beside other shared holders')
    .option('--permits <count>', 'a semaphore that so many can hold', count)
    .option(
      '--wait <duration>',
      'how long to wait for it; 0: not at all (default: as long as it takes)',
      duration,
    )
    .option(
      '--ttl <duration>',
      'for how long it stays taken when this machine dies, 1s to 24h (default: 10s)',
      duration,
    )
    .addOption(
      new Option(
        '--on-loss <what>',
        'when the lock is lost: warn on stderr, or end the command (default: warn)',
      ).choices(['warn', 'kill']),
    )
    .option('--kill', 'the same as --on-loss kill')
    .option('--grace <duration>', 'with --on-loss kill: time between SIGTERM and SIGKILL', duration, 5_000)
    .option('--holder <text>', 'shown to who asks who holds it (default: host, process and command)')
    .action(async (name, command, options) =>
      setExitCode(await (await import('./lock-run.ts')).runLocked(name, command, options)),
    );
  run.addHelpText(
    'after',
    `
The command finds the name of the lock in HOLDFAST_LOCK_NAME and its fencing token in
HOLDFAST_LOCK_TOKEN. Signals are passed on to it, and its exit code is that of this command
(128 and the number of the signal that ended it). Besides: 75 somebody else holds the lock
(--wait 0), 77 it was not got within --wait, 78 no majority of the nodes answers; 76 the lock was
lost, and the command ended for it if it still ran (--on-loss kill); 126 the command cannot be run, 127 there is
none.`,
  );
  withExamples(
    run,
    'holdfast lock run nightly -- ./backup.sh',
    'holdfast lock run nightly --wait 0 --kill -- ./backup.sh --all',
    'holdfast lock run gpu --permits 4 -- python train.py',
  );
  const list = askingCluster(lock.command('list [prefix]').description('list the locks that are in use'));
  list.action(async (prefix, options) => (await import('./locks.ts')).list(prefix, options));
  withExamples(list, 'holdfast lock list', 'holdfast lock list job/ --json');
  const describe = askingCluster(
    lock.command('describe <name>').description('show who holds a lock and who waits for it'),
  );
  describe.action(async (name, options) => (await import('./locks.ts')).describe(name, options));
  withExamples(describe, 'holdfast lock describe nightly');
}

function addElect(program: Command, setExitCode: (code: number) => void): void {
  const elect = askingCluster(
    program
      .command('elect <name> [value]')
      .description('become a candidate, lead until interrupted, and resign; or see who leads'),
  );
  elect
    .option(
      '--ttl <duration>',
      'for how long it stays the leader when this machine dies (default: 10s)',
      duration,
    )
    .option('--wait <duration>', 'how long to wait to be elected (default: as long as it takes)', duration)
    .option('--holder <text>', 'shown to who asks who leads (default: host and process)')
    .option('--observe', 'print who leads, and each change of that, until interrupted')
    .option('--describe', 'print who leads and who else is a candidate')
    .action(async (name, value, options) =>
      setExitCode(await (await import('./elect.ts')).elect(name, value, options)),
    );
  elect.addHelpText(
    'after',
    `
VALUE is what it says as the leader, such as its address (default: host/process). Exit codes
besides: 77 not elected within --wait, 78 no majority of the nodes answers, 76 the leadership was lost.`,
  );
  withExamples(
    elect,
    'holdfast elect primary 10.0.0.7:5432',
    'holdfast elect primary --observe',
    'holdfast elect primary --describe --json',
  );
}
