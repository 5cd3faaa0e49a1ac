import type { Command } from 'commander';
import { timeout } from './arguments.ts';

/** Adds the options of every command that asks the cluster. */
export function askingCluster(command: Command): Command {
  return withJson(command)
    .option(
      '--endpoints <list>',
      'nodes to ask, host:port,host:port (default: HOLDFAST_ENDPOINTS, else cluster.yaml)',
    )
    .option('--config <file>', 'take the nodes from this cluster file')
    .option(
      '--ca <file>',
      'TLS: authorities of the nodes, PEM (default: HOLDFAST_CA, else tls.ca of the file)',
    )
    .option('--cert <file>', 'TLS: certificate of the caller, for nodes that ask (default: HOLDFAST_CERT)')
    .option('--key <file>', 'TLS: key of the certificate (default: HOLDFAST_KEY)')
    .option('--server-name <name>', 'TLS: name in the certificates of the nodes (default: the host)')
    .option('--tls', 'TLS with the authorities that Node.js knows')
    .option('--user <name>', 'who asks, of a cluster with permissions (default: HOLDFAST_USER)')
    .option(
      '--password-file <file>',
      'file with the password of the user (default: HOLDFAST_PASSWORD_FILE, else HOLDFAST_PASSWORD)',
    )
    .option('--timeout <duration>', 'greatest time of a call: 500ms, 5s, 1m (default: 5s)', timeout);
}

/** Adds --json. */
export function withJson(command: Command): Command {
  return command.option('--json', 'print JSON, errors too (on stderr)');
}

/** Adds examples to the help of a command. */
export function withExamples(command: Command, ...examples: string[]): Command {
  const lines = examples.map((example) => `  $ ${example}\n`).join('');
  return command.addHelpText('after', `\nExamples:\n${lines.trimEnd()}`);
}

/** What every command's help ends with. */
export const EXIT_CODES = '\nExit codes: 0 done, 1 refused, 2 wrong usage, 3 no node could be reached.';
