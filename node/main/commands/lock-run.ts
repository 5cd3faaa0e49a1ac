import { basename } from 'node:path';
import { sleep } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { Holdfast } from '@holdfast/client/holdfast';
import type { HeldLock } from '@holdfast/client/session/held-lock';
import type { Lease } from '@holdfast/client/session/lease';
import type { LockMode } from '@holdfast/client/session/lock-options';
import { SystemClock } from '@holdfast/client/system-clock';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { CommandFailure, usageFailure } from '../command-failure.ts';
import { ExitCode } from '../exit-code.ts';
import { ENDING, Interruption, interruption } from '../interruption.ts';
import { printError } from '../output.ts';
import { ChildProgram } from './child-program.ts';
import { holderName, holdingFailure } from './holding.ts';

/** Options of `holdfast lock run`. */
export interface LockRunOptions extends ClusterOptions {
  mode?: LockMode | undefined;
  /** The same as mode shared. */
  shared?: boolean;
  permits?: number;
  wait?: number;
  ttl?: number;
  onLoss?: 'kill' | 'warn';
  /** The same as onLoss kill. */
  kill?: boolean;
  grace: number;
  holder?: string;
}

/** Sessions that are tried when one after the other ends before the lock is got. */
const MOST_SESSIONS = 5;
/** For giving back what was not used. */
const CLEANING_MS = 2_000;

interface Holding {
  readonly session: Lease;
  readonly held: HeldLock;
}

/**
 * `holdfast lock run`: takes the lock, runs the command, and releases it when the command has
 * ended. Gives the exit code, which is that of the command when it was run.
 */
export async function runLocked(
  name: string,
  command: readonly string[],
  options: LockRunOptions,
): Promise<number> {
  const mode = modeOf(options);
  const isKilled = killsOnLoss(options);
  const stop = interruption(new AbortController().signal, [...ENDING, 'SIGHUP']);
  try {
    return await withCluster(options, async (client, hopeless) => {
      const signal = AbortSignal.any([stop, hopeless]);
      const holding = await take(client, name, command, { ...options, mode }, signal);
      try {
        // From here to the start of the command no signal can come in between.
        stop.throwIfAborted();
        return await runWith(holding.held, command, isKilled, options.grace);
      } finally {
        await giveBack(holding);
      }
    });
  } catch (error) {
    if (stop.reason instanceof Interruption && !(error instanceof CommandFailure && isOfProgram(error)))
      return stop.reason.exitCode;
    throw holdingFailure(error);
  }
}

/** It was got so far that there was something to run. */
function isOfProgram({ exitCode }: CommandFailure): boolean {
  return ([ExitCode.LOST, ExitCode.NOT_EXECUTABLE, ExitCode.NOT_FOUND] as number[]).includes(exitCode);
}

function modeOf({ mode, shared, permits }: LockRunOptions): LockMode | undefined {
  if (shared === true && (permits !== undefined || (mode !== undefined && mode !== 'shared')))
    throw usageFailure('--shared excludes --permits and other modes');
  if (mode !== undefined && (mode === 'semaphore') !== (permits !== undefined))
    throw usageFailure('--permits belong to --mode semaphore, which needs them');
  return shared === true ? 'shared' : mode;
}

function killsOnLoss({ kill, onLoss }: LockRunOptions): boolean {
  if (kill === true && onLoss === 'warn') throw usageFailure('--kill and --on-loss warn exclude each other');
  return kill === true || onLoss === 'kill';
}

/** Waits for the lock. A session that ends meanwhile has lost its place; another one waits anew. */
async function take(
  client: Holdfast,
  name: string,
  command: readonly string[],
  options: LockRunOptions,
  signal: AbortSignal,
): Promise<Holding> {
  const clock = new SystemClock();
  const { mode, permits, ttl, wait } = options;
  const holder = options.holder ?? holderName(basename(command[0]!));
  const endMs = clock.monotonicMs() + (wait ?? Infinity);
  for (let tried = 1; ; tried += 1) {
    const session = await client.session({ ttl, name: holder, signal });
    try {
      const left =
        wait === undefined || wait <= 0 ? wait : Math.max(1, Math.ceil(endMs - clock.monotonicMs()));
      const held = await client.lock.acquire(name, { mode, permits, wait: left, session, signal });
      return { session, held };
    } catch (error) {
      await session.revoke({ timeout: CLEANING_MS }).catch(() => undefined);
      if (tried >= MOST_SESSIONS || signal.aborted || !isSessionOver(error)) throw error;
    }
  }
}

function isSessionOver(error: unknown): boolean {
  return error instanceof HoldfastError && ['LOCK_LOST', 'SESSION_EXPIRED'].includes(error.reason);
}

/** Runs the command to its end, whatever becomes of the lock meanwhile. */
async function runWith(
  held: HeldLock,
  command: readonly string[],
  isKilled: boolean,
  graceMs: number,
): Promise<number> {
  const child = new ChildProgram(command, {
    HOLDFAST_LOCK_NAME: held.name,
    HOLDFAST_LOCK_TOKEN: String(held.token),
  });
  const onLost = () => {
    const fate = isKilled ? 'the command is ended' : 'the command goes on; another may hold it now';
    void printError(`holdfast: lock ${JSON.stringify(held.name)} is lost: ${fate}`);
    if (isKilled) void endChild(child, graceMs);
  };
  if (held.signal.aborted) onLost();
  else held.signal.addEventListener('abort', onLost, { once: true });
  const code = await child.ended.finally(() => held.signal.removeEventListener('abort', onLost));
  // This process may have stood still, and the signal not have fired yet.
  if (held.isHeld || !isKilled) return code;
  throw new CommandFailure(ExitCode.LOST, {
    reason: 'LOCK_LOST',
    code: 'FAILED_PRECONDITION',
    message: `lock ${JSON.stringify(held.name)} was, or may have been, lost before ${command[0]} ended (with ${code}) [LOCK_LOST]`,
  });
}

async function endChild(child: ChildProgram, graceMs: number): Promise<void> {
  if (graceMs > 0) {
    child.signal('SIGTERM');
    const ended = new AbortController();
    void child.ended.then(() => ended.abort());
    await sleep(new SystemClock(), graceMs, ended.signal).catch(() => undefined);
  }
  // Also what the command has left behind.
  child.signal('SIGKILL');
}

async function giveBack({ session, held }: Holding): Promise<void> {
  try {
    // Whatever hangs on the session is free then.
    await session.revoke();
  } catch (error) {
    const { ttlMs } = session;
    await printError(
      `holdfast: lock ${JSON.stringify(held.name)} could not be released, and is free in at most ${ttlMs} ms: ${(error as Error).message}`,
    );
  }
}
