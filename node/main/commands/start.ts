import { relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ClusterConfig, loadClusterFile, type NodeConfig } from '../cluster-file.ts';
import { usageFailure } from '../command-failure.ts';
import type { ExitCode } from '../exit-code.ts';
import { outliveReaders } from '../output.ts';
import { nearestName } from '../nearest-name.ts';
import { startCluster } from '../start-cluster.ts';
import type { NodePlan } from '../start-plan.ts';

// As source in development, compiled otherwise: the nodes run what started them.
const MAIN = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../main.ts' : '../main.js', import.meta.url),
);

/** Options of `holdfast start`. */
export interface StartOptions {
  config: string;
  node?: string;
  dataDir?: string;
  json?: boolean;
  /** Addresses of nodes of a cluster; what follows is of a node that joins it. */
  join?: string;
  grpc?: string;
  http?: string;
  zone?: string;
  user?: string;
  passwordFile?: string;
}

/** `holdfast start`. */
export async function start(options: StartOptions): Promise<ExitCode> {
  requireNode22();
  outliveReaders();
  // Before the first use of the pool. The default of 4 threads lets a few synced writes hold up every read.
  process.env['UV_THREADPOOL_SIZE'] ??= '16';
  if (options.join !== undefined)
    return (await import('./start-joining.ts')).startJoining(options.join, options);
  refuseJoinOptions(options);
  const config = loadClusterFile(options.config);
  if (options.node === undefined) {
    const plans = config.nodes.map((node) => nodePlan(node, options));
    return startCluster({ config, plans, json: options.json ?? false });
  }
  const node = findNode(config, options.node);
  // Loaded only now: the process that merely starts others needs none of what a node does.
  const { startNode } = await import('../start-node.ts');
  return startNode({ config, plan: nodePlan(node, options), json: options.json ?? false });
}

function refuseJoinOptions(options: StartOptions): void {
  const stray = (['grpc', 'http', 'zone', 'user', 'passwordFile'] as const).find(
    (name) => options[name] !== undefined,
  );
  if (stray === undefined) return;
  const flag = stray === 'passwordFile' ? 'password-file' : stray;
  throw usageFailure(`--${flag} is of a node that joins a cluster: give --join host:port as well`);
}

function findNode(config: ClusterConfig, name: string): NodeConfig {
  const node = config.nodes.find((one) => one.name === name);
  if (node !== undefined) return node;
  const names = config.nodes.map((one) => one.name);
  const nearest = nearestName(name, names);
  const hint = nearest === undefined ? '' : ` Did you mean ${nearest}?`;
  throw usageFailure(
    `${config.path} has no node ${JSON.stringify(name)}.${hint} It has ${names.join(', ')}.`,
  );
}

/** `more`: further arguments of the command that starts this node by itself. */
export function nodePlan(node: NodeConfig, options: StartOptions, more: readonly string[] = []): NodePlan {
  const directory = options.dataDir === undefined ? node.data : resolve(options.dataDir, node.name);
  const own = ['start', '--config', options.config, '--node', node.name, ...more];
  const args = options.dataDir === undefined ? own : [...own, '--data-dir', options.dataDir];
  return {
    node,
    dataDirectory: directory,
    shownDirectory: shortest(directory),
    main: MAIN,
    args,
  };
}

function shortest(path: string): string {
  const near = relative('', path);
  return near.startsWith('..') || near === '' ? path : near;
}

function requireNode22(): void {
  const { node } = process.versions;
  if (Number(node.split('.')[0]) >= 22) return;
  throw usageFailure(
    `a Holdfast node needs Node.js 22 or later, this is ${node}. ` +
      '`npm start` and `npx holdfast start` bring their own.',
  );
}
