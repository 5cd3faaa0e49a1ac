/** What commands have in common that hold a lock or lead an election while they run. */
import { hostname } from 'node:os';
import { asFailure, CommandFailure } from '../command-failure.ts';
import { ExitCode } from '../exit-code.ts';

/** Of what it runs, in characters of up to three bytes: with the host it stays below 256 bytes. */
const MOST_CHARACTERS = 40;

/** Who holds it, for people: host, process, and what it runs. */
export function holderName(what = ''): string {
  const shown = what.slice(0, MOST_CHARACTERS).toWellFormed();
  return `${hostname().slice(0, 64)} ${process.pid} ${shown}`.trim();
}

const CODES: Readonly<Record<string, ExitCode>> = {
  LOCK_HELD: ExitCode.HELD,
  LOCK_TIMED_OUT: ExitCode.TIMED_OUT,
  ELECTION_TIMED_OUT: ExitCode.TIMED_OUT,
  NO_LEADER: ExitCode.NO_QUORUM,
  // Nodes answer, so what was asked for waits for a majority.
  DEADLINE_EXCEEDED: ExitCode.NO_QUORUM,
  LOCK_LOST: ExitCode.LOST,
  SESSION_EXPIRED: ExitCode.LOST,
};

/** The failure of such a command, with an exit code that says what it could not get. */
export function holdingFailure(error: unknown): CommandFailure {
  const failure = asFailure(error);
  const code = failure.exitCode === ExitCode.REFUSED ? CODES[failure.json.reason] : undefined;
  return code === undefined ? failure : new CommandFailure(code, failure.json);
}
