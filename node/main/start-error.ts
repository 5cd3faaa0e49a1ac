/** Why a node did not start, in words that say what to do. */
import { HoldfastError } from '@holdfast/client/error';

/** The message is meant for the person who started the node. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

interface Cause {
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
  readonly cause?: { readonly code?: string };
}

interface Settings {
  readonly name: string;
  readonly grpc: string;
  readonly http: string;
}

/** Names the cause of a failed start. */
export function startError(error: unknown, { name, grpc, http }: Settings, directory: string): StartError {
  const cause = error as Cause;
  const code = cause.name === 'TlsFilesError' ? undefined : systemCode(cause);
  const because = (text: string) => new StartError(`${name}: ${text}`, { cause: error });
  switch (code) {
    case 'EADDRINUSE':
      return because(
        `port in use: ${cause.message}. Stop what listens there, or change grpc (${grpc}) or http (${http}) in cluster.yaml.`,
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return because(
        `cannot listen: ${cause.message}. Use an address of this machine for grpc (${grpc}) and http (${http}) in cluster.yaml.`,
      );
    case 'LEVEL_LOCKED':
      return because(
        `${directory} is in use by another process. Is this node running already? Stop it, or use another directory (--data-dir).`,
      );
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
    case 'ENOTDIR':
    case 'EEXIST':
      return because(
        `cannot write to ${directory}: ${cause.message}. Make it a directory that this user can write, or use another one (--data-dir).`,
      );
    case 'ENOSPC':
      return because(
        `no space left for ${directory}. Free some; a node needs space for two log segments to start.`,
      );
  }
  if (cause.name === 'TlsFilesError')
    return because(`${cause.message}. Correct tls in cluster.yaml or the file.`);
  if (cause.name === 'JwtFilesError')
    return because(`${cause.message}. Correct auth.jwt in cluster.yaml or the file.`);
  if (cause.name === 'DataDamaged' || cause.name === 'IdentityError')
    return because(`${directory}: ${cause.message}`);
  if (error instanceof HoldfastError) return because(error.message);
  return because(`${directory}: ${cause.message ?? String(error)}`);
}

/** Why a node that was running has ended. */
export function diskFailed(cause: Error, name: string, directory: string): StartError {
  const todo = systemCode(cause as Cause) === 'ENOSPC' ? 'Free some space' : 'See to the disk';
  const message = `${name}: ${directory} cannot be written: ${cause.message}. Everything acknowledged is kept. ${todo} and start the node again.`;
  return new StartError(message, { cause });
}

/** LevelDB has one code for everything that a disk may say, and puts the rest into words. */
function systemCode({ code, message, cause }: Cause): string | undefined {
  const [, said] =
    LEVEL_WORDS.find(([words]) => code?.startsWith('LEVEL_') && message?.includes(words)) ?? [];
  return said ?? (cause?.code === 'LEVEL_LOCKED' ? cause.code : (code ?? cause?.code));
}

const LEVEL_WORDS = [
  ['No space left on device', 'ENOSPC'],
  ['Read-only file system', 'EROFS'],
  ['Permission denied', 'EACCES'],
] as const;
