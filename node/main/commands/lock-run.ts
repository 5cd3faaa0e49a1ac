import { type ChildProcess, spawn } from 'node:child_process';
import { constants, hostname } from 'node:os';
import type { HeldLock, Holdfast, Lease } from '@holdfast/client';
import type { Timer } from '@holdfast/client/clock';
import { SystemClock } from '@holdfast/client/system-clock';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { usageFailure } from '../command-failure.ts';
import { ExitCode } from '../exit-code.ts';
import { printError } from '../output.ts';
import { endSession, sessionFailure } from './session-end.ts';

/** Options of `holdfast lock run`. */
export interface LockRunOptions extends ClusterOptions {
  shared?: boolean;
  permits?: number;
  wait?: number;
  ttl?: number;
  kill?: boolean;
  grace: number;
}

/** Signals that a terminal or a supervisor sends; they are for the command to heed. */
const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;
/** 128 and the number of a signal, as shells have it. */
const BY_SIGNAL = 128;
/** As shells have it. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;

/** `holdfast lock run`; gives the exit code. */
export function runLocked(
  name: string,
  command: readonly string[],
  options: LockRunOptions,
): Promise<number> {
  if (options.shared === true && options.permits !== undefined)
    throw usageFailure('--shared and --permits exclude each other');
  if (command[0] === '') throw usageFailure('the command to run is empty');
  return withCluster(options, async (client, hopeless) => {
    const signals = new Signals();
    const signal = AbortSignal.any([hopeless, signals.interrupted]);
    let session: Lease | undefined;
    try {
      session = await client.leases.grant({ ttl: options.ttl, name: `${hostname()}/${process.pid}`, signal });
      const held = await acquire(client, name, session, options, signal);
      return await runCommand(held, command, options, signals);
    } catch (error) {
      if (signal.reason instanceof Interrupted) return BY_SIGNAL + constants.signals[signals.first!];
      throw sessionFailure(error, session);
    } finally {
      // With it the lock is free, and the place in the queue.
      await endSession(session, `lock ${JSON.stringify(name)}`);
      signals.stop();
    }
  });
}

function acquire(
  client: Holdfast,
  name: string,
  session: Lease,
  { shared, permits, wait }: LockRunOptions,
  signal: AbortSignal,
): Promise<HeldLock> {
  const mode = shared === true ? ('shared' as const) : undefined;
  return client.lock.acquire(name, { mode, permits, wait, session, signal });
}

function runCommand(
  held: HeldLock,
  [program, ...args]: readonly string[],
  { kill, grace }: LockRunOptions,
  signals: Signals,
): Promise<number> {
  const env = { ...process.env, HOLDFAST_LOCK_NAME: held.name, HOLDFAST_LOCK_TOKEN: String(held.token) };
  return new Promise((resolve) => {
    const child = spawn(program!, args, { stdio: 'inherit', env });
    let killing: Timer | undefined;
    let wasLost = false;
    const onLost = () => {
      wasLost = true;
      const what = kill === true ? 'the command is ended' : 'the command goes on; another may hold it now';
      void printError(`holdfast: lock ${JSON.stringify(held.name)} is lost: ${what}`);
      if (kill !== true) return;
      child.kill('SIGTERM');
      killing = new SystemClock().setTimer(grace, () => child.kill('SIGKILL'));
    };
    const end = (code: number) => {
      killing?.cancel();
      held.signal.removeEventListener('abort', onLost);
      signals.passTo(undefined);
      resolve(wasLost && kill === true ? ExitCode.LOST : code);
    };
    child.once('error', (error: NodeJS.ErrnoException) => {
      const isMissing = error.code === 'ENOENT';
      void printError(
        `holdfast: ${program} ${isMissing ? 'was not found' : `cannot be run: ${error.message}`}`,
      );
      end(isMissing ? NOT_FOUND : NOT_EXECUTABLE);
    });
    child.once('exit', (code, signal) => end(code ?? BY_SIGNAL + constants.signals[signal!]));
    signals.passTo(child);
    if (held.signal.aborted) onLost();
    else held.signal.addEventListener('abort', onLost, { once: true });
  });
}

class Interrupted extends Error {}

/** Signals of this process: before the command runs they end the waiting, then they are the command's. */
class Signals {
  first: NodeJS.Signals | undefined;
  readonly #interruption = new AbortController();
  #child: ChildProcess | undefined;

  constructor() {
    for (const name of PASSED_ON) process.on(name, this.#onSignal);
  }

  get interrupted(): AbortSignal {
    return this.#interruption.signal;
  }

  passTo(child: ChildProcess | undefined): void {
    this.#child = child;
  }

  stop(): void {
    for (const name of PASSED_ON) process.removeListener(name, this.#onSignal);
  }

  readonly #onSignal = (name: NodeJS.Signals) => {
    this.first ??= name;
    if (this.#child === undefined) this.#interruption.abort(new Interrupted(`${name} was received`));
    // A terminal has sent it to the command as well: that it comes twice is usual.
    else this.#child.kill(name);
  };
}
