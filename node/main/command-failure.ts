import { ExitCode } from './exit-code.ts';
import type { Interruption } from './interruption.ts';

/** How an error is shown with --json. */
export interface ErrorJson {
  reason: string;
  code: string;
  message: string;
  outcome: string | null;
  field: string | null;
  actual: string | null;
  limit: string | null;
  current_version: string | null;
  /** Every problem of a cluster file. */
  problems?: readonly string[];
}

/** A command that ends otherwise than done: what is said on stderr, and the exit code. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
  readonly exitCode: number;
  readonly json: ErrorJson;

  constructor(exitCode: number, error: Partial<ErrorJson> & Pick<ErrorJson, 'reason' | 'code' | 'message'>) {
    super(error.message);
    this.exitCode = exitCode;
    const { reason, code, message, ...facts } = error;
    this.json = {
      reason,
      code,
      message,
      outcome: null,
      field: null,
      actual: null,
      limit: null,
      current_version: null,
      ...facts,
    };
  }
}

/** The failure of a command line, or of a file that it names, that makes no sense. */
export function usageFailure(message: string, problems?: readonly string[]): CommandFailure {
  return new CommandFailure(ExitCode.USAGE, {
    reason: 'USAGE',
    code: 'INVALID_ARGUMENT',
    message,
    ...(problems === undefined ? {} : { problems }),
  });
}

/** Any error as a failure. Told by its shape, so that the modules that make it need not be loaded. */
export function asFailure(error: unknown): CommandFailure {
  if (error instanceof CommandFailure) return error;
  const { name, message } = error as Error;
  if (name === 'ClusterFileError') {
    return usageFailure(message, (error as { problems: string[] } & Error).problems);
  }
  if (name === 'Interruption')
    return new CommandFailure((error as Interruption).exitCode, {
      reason: 'CANCELLED',
      code: 'CANCELLED',
      message,
    });
  if (name === 'HoldfastError') return clusterFailure(error as ClusterError);
  return new CommandFailure(ExitCode.REFUSED, { reason: 'INTERNAL', code: 'INTERNAL', message });
}

interface ClusterError extends Error {
  reason: string;
  code: string;
  outcome: string | undefined;
  field: string | undefined;
  actual: string | undefined;
  limit: string | undefined;
  current: { version: bigint } | undefined;
}

function clusterFailure(error: ClusterError): CommandFailure {
  return new CommandFailure(error.reason === 'UNAVAILABLE' ? ExitCode.UNREACHABLE : ExitCode.REFUSED, {
    reason: error.reason,
    code: error.code,
    message: error.message,
    outcome: error.outcome ?? null,
    field: error.field ?? null,
    actual: error.actual ?? null,
    limit: error.limit ?? null,
    current_version: error.current?.version.toString() ?? null,
  });
}
