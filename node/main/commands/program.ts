import { Command, CommanderError } from 'commander';
import { asFailure, type CommandFailure, usageFailure } from '../command-failure.ts';
import { ExitCode } from '../exit-code.ts';
import { VERSION } from '../version.ts';
import { endWhenReaderLeaves, printError } from '../output.ts';
import { addBackupCommands } from './backup-commands.ts';
import { addClusterCommands } from './cluster-commands.ts';
import { addConfigCommands } from './config-commands.ts';
import { EXIT_CODES, withExamples } from './command-options.ts';
import { addGroupCommands } from './group-commands.ts';
import { addIdCommands, addSequenceCommands } from './id-commands.ts';
import { addKeyspaceCommands } from './keyspace-commands.ts';
import { addKvCommands } from './kv-commands.ts';
import { addSessionCommands } from './session-commands.ts';
import { addTopicCommands } from './topic-commands.ts';

/**
 * Runs a command line and gives the exit code. Here is only what each command is called
 * and takes; what it does is loaded when it is run, since a command that reads one key is
 * expected to take no longer than that.
 */
export async function runCommandLine(argv: readonly string[]): Promise<number> {
  endWhenReaderLeaves();
  const messages: string[] = [];
  let exitCode: number = ExitCode.DONE;
  const program = newProgram(messages, (code) => (exitCode = code));
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    const failure = error instanceof CommanderError ? commandLineFailure(error, messages) : asFailure(error);
    if (failure === undefined) return ExitCode.DONE;
    await report(failure, wantsJson(argv));
    return failure.exitCode;
  }
}

function newProgram(messages: string[], setExitCode: (code: number) => void): Command {
  const program = new Command('holdfast');
  program
    .description('Keeps key-value data on a few machines, and loses nothing it acknowledged.')
    .exitOverride()
    .configureOutput({ writeErr: (text) => messages.push(text) })
    .version(VERSION, '--version', 'print the version')
    .addHelpText('afterAll', EXIT_CODES);
  addClusterCommands(program, setExitCode);
  addKvCommands(program);
  addKeyspaceCommands(program);
  addConfigCommands(program);
  addSessionCommands(program, setExitCode);
  addTopicCommands(program);
  addGroupCommands(program);
  addIdCommands(program);
  addSequenceCommands(program);
  addBackupCommands(program);
  withExamples(program, 'holdfast start', 'holdfast kv put user/1 Ada', 'holdfast kv get user/1 --json');
  return program;
}

/** Undefined: help was asked for and given. */
function commandLineFailure(error: CommanderError, messages: readonly string[]): CommandFailure | undefined {
  if (error.exitCode === 0) return undefined;
  const text = messages
    .join('')
    .trim()
    .replace(/^error: /, '');
  // Without a subcommand commander prints the help as an error.
  return usageFailure(error.code === 'commander.help' ? text : `${text}\nSee --help.`);
}

function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return (end < 0 ? argv : argv.slice(0, end)).includes('--json');
}

function report(failure: CommandFailure, json: boolean): Promise<void> {
  return printError(json ? JSON.stringify({ error: failure.json }) : failure.message);
}
