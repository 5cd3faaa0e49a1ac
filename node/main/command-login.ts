/** The user as which the command line asks nodes. A password never stands in its arguments, which other users of the machine can see. */
import { readFileSync } from 'node:fs';
import type { LoginOptions } from '@holdfast/client/options';
import { usageFailure } from './command-failure.ts';

/** Options about who asks; each may come from the environment instead. */
export interface LoginCommandOptions {
  user?: string;
  passwordFile?: string;
}

/** What options and environment say; undefined: nothing. Error: CommandFailure, wrong usage. */
export function loginOfOptions({ user: given, passwordFile }: LoginCommandOptions): LoginOptions | undefined {
  const user = given ?? nonEmpty('HOLDFAST_USER');
  if (user === undefined) {
    if (passwordFile === undefined) return undefined;
    throw usageFailure('--password-file is given without --user (or HOLDFAST_USER)');
  }
  if (user.includes(':'))
    throw usageFailure(
      '--user is the name of a user; its password comes from --password-file or HOLDFAST_PASSWORD',
    );
  const file = passwordFile ?? nonEmpty('HOLDFAST_PASSWORD_FILE');
  const password = file === undefined ? nonEmpty('HOLDFAST_PASSWORD') : passwordIn(file);
  if (password !== undefined) return { user, password };
  throw usageFailure(`there is no password for user ${user}: give --password-file or HOLDFAST_PASSWORD`);
}

/** Without the end of the line that editors put there. */
function passwordIn(path: string): string {
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : (code ?? message);
    throw usageFailure(`the password file ${path} cannot be read: ${why}`);
  }
}

function nonEmpty(variable: string): string | undefined {
  return process.env[variable] || undefined;
}
