import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { CommandFailure } from '../command-failure.ts';
import { ExitCode, SIGNALLED } from '../exit-code.ts';

/** Signals that are passed on to the program. */
const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGCONT'] as const;
/** Of those, what a terminal sends to all that run in it by itself. */
const OF_TERMINALS: readonly string[] = ['SIGINT', 'SIGQUIT', 'SIGHUP'];

/**
 * A program that runs in place of this one: it has its standard streams and is sent its signals.
 *
 * Without a terminal the program leads a process group of its own, so that signals reach what
 * it has started as well. In a terminal it stays in the group of this process, since it could
 * not read from the terminal otherwise.
 */
export class ChildProgram {
  /** What it ended with, as the shell says it. Rejects with CommandFailure when it cannot be run. */
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;
  readonly #hasGroup: boolean;
  #hasEnded = false;

  constructor([program, ...args]: readonly string[], environment: Readonly<Record<string, string>>) {
    this.#hasGroup = !process.stdin.isTTY;
    this.#child = spawn(program!, args, {
      stdio: 'inherit',
      detached: this.#hasGroup,
      env: { ...process.env, ...environment },
    });
    const passOn = (signal: NodeJS.Signals) => {
      if (this.#hasGroup || !OF_TERMINALS.includes(signal)) this.signal(signal);
    };
    for (const signal of PASSED_ON) process.on(signal, passOn);
    this.ended = new Promise((resolve, reject) => {
      this.#child.on('error', (error: NodeJS.ErrnoException) => reject(notRun(program!, error)));
      this.#child.on('exit', (code, signal) => {
        this.#hasEnded = true;
        resolve(code ?? SIGNALLED + constants.signals[signal!]);
      });
    });
  }

  /** Sends a signal to the program, and to what it has started if that is its group. */
  signal(signal: NodeJS.Signals): void {
    const { pid } = this.#child;
    // A number of its own that has ended may be another's by now; that of a group is in use while anybody is in it.
    if (pid === undefined || (!this.#hasGroup && this.#hasEnded)) return;
    try {
      process.kill(this.#hasGroup ? -pid : pid, signal);
    } catch {
      // They have ended.
    }
  }
}

function notRun(program: string, { code, message }: NodeJS.ErrnoException): CommandFailure {
  const isMissing = code === 'ENOENT';
  const why = isMissing ? 'there is no such program' : (code ?? message);
  return new CommandFailure(isMissing ? ExitCode.NOT_FOUND : ExitCode.NOT_EXECUTABLE, {
    reason: 'USAGE',
    code: 'INVALID_ARGUMENT',
    message: `${program} cannot be run: ${why}`,
  });
}
