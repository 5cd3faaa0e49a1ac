import type { Lease } from '@holdfast/client';
import { asFailure, CommandFailure } from '../command-failure.ts';
import { ExitCode } from '../exit-code.ts';
import { printError } from '../output.ts';

const EXIT_CODES: Readonly<Record<string, ExitCode>> = {
  LOCK_HELD: ExitCode.HELD,
  LOCK_TIMED_OUT: ExitCode.TIMED_OUT,
  ELECTION_TIMED_OUT: ExitCode.TIMED_OUT,
  NO_LEADER: ExitCode.NO_MAJORITY,
};

/** Why a lock was not got, or an election not won, with an exit code of its own for each reason. */
export function sessionFailure(error: unknown, session: Lease | undefined): unknown {
  const { reason } = error as { reason?: string };
  // Who waits notices by its own lease that nobody leads: it could not be kept alive.
  const isCutOff = (session?.signal.reason as { reason?: string } | undefined)?.reason === 'LEASE_LOST';
  const code = isCutOff ? ExitCode.NO_MAJORITY : EXIT_CODES[reason ?? ''];
  return code === undefined ? error : new CommandFailure(code, asFailure(error).json);
}

/** Ends a session and what hangs on it; says so if that was not possible. */
export async function endSession(session: Lease | undefined, what: string): Promise<void> {
  if (session === undefined) return;
  const wasAlive = session.isAlive;
  try {
    await session.revoke();
  } catch (error) {
    if (!wasAlive) return;
    const left = `It ends by itself in at most ${session.ttlMs / 1_000} s.`;
    await printError(`holdfast: ${what} could not be given up: ${(error as Error).message} ${left}`);
  }
}
