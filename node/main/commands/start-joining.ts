/** `holdfast start --join`: one node, in this process, that joins a cluster and need not be in any file. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { LoginOptions } from '@holdfast/client/options';
import {
  configWithoutFile,
  loadClusterFile,
  type ClusterConfig,
  type UnlistedNode,
} from '../cluster-file.ts';
import { CommandFailure, usageFailure } from '../command-failure.ts';
import { loginOfOptions } from '../command-login.ts';
import { ExitCode } from '../exit-code.ts';
import {
  dataParentOf,
  findCluster,
  identityOf,
  planJoin,
  type JoinedCluster,
  type JoinWishes,
} from '../join-plan.ts';
import { parseNetworkAddress, type NetworkAddress } from '../network-address.ts';
import { startNode } from '../start-node.ts';
import { nodePlan, type StartOptions } from './start.ts';

const DEFAULT_FILE = 'cluster.yaml';
/** A node whose directory belongs to the cluster does without those that it is to join. */
const BRIEF_MS = 1_000;
/** What was made up may have been taken a moment later: by others that join. */
const ATTEMPTS = 5;
/** Of a cluster that nobody tells the name of. */
const UNNAMED = 'holdfast';

export async function startJoining(addresses: string, options: StartOptions): Promise<ExitCode> {
  const wishes = wishesOf(addresses, options);
  const login = loginOfOptions(options);
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(wishes, options, login);
    } catch (error) {
      if (options.node !== undefined || attempt === ATTEMPTS || !isTaken(error)) throw error;
    }
  }
}

async function startOnce(
  wishes: JoinWishes,
  options: StartOptions,
  login: LoginOptions | undefined,
): Promise<ExitCode> {
  const cluster = await clusterToJoin(wishes, options);
  const node = {
    ...(await planJoin(wishes, cluster)),
    ...(options.zone !== undefined && { zone: options.zone }),
  };
  const config = configOf(wishes, options, cluster, node);
  const own = config.nodes.find(({ name }) => name === node.name)!;
  const seeds = wishes.addresses.map(({ text }) => text);
  const zone = options.zone === undefined ? [] : ['--zone', options.zone];
  const more = ['--join', seeds.join(','), '--grpc', own.grpc.text, '--http', own.http.text, ...zone];
  const plan = nodePlan(own, options, more);
  return startNode({ config, plan, json: options.json ?? false, join: { addresses: seeds, login } });
}

function wishesOf(addresses: string, options: StartOptions): JoinWishes {
  const { node: name, config: path, zone } = options;
  if (name !== undefined && !/^[a-z0-9][a-z0-9-]{0,62}$/.test(name))
    throw usageFailure(`--node is ${JSON.stringify(name)}: must be [a-z0-9][a-z0-9-]{0,62}, such as n4`);
  if (zone !== undefined && !/^[A-Za-z0-9._-]{1,64}$/.test(zone))
    throw usageFailure(`--zone is ${JSON.stringify(zone)}: must be [A-Za-z0-9._-]{1,64}, such as eu-1a`);
  const file = existsSync(path) || path !== DEFAULT_FILE ? loadClusterFile(path) : undefined;
  if (name === undefined && file?.nodes[0]?.tls !== undefined)
    throw usageFailure(`${path} has tls, and certificates are made for a node: say its name with --node`);
  return {
    addresses: addresses.split(',').map((text) => address(text.trim(), '--join')),
    name,
    grpc: options.grpc === undefined ? undefined : address(options.grpc, '--grpc'),
    http: options.http === undefined ? undefined : address(options.http, '--http'),
    dataParent: dataParentOf(path, options.dataDir),
    file,
  };
}

function address(text: string, option: string): NetworkAddress {
  const parsed = parseNetworkAddress(text);
  if ('problem' in parsed) throw usageFailure(`${option} is ${JSON.stringify(text)}: ${parsed.problem}`);
  return parsed;
}

/** Error: CommandFailure, when it cannot be asked though it must be, or is not the file's. */
async function clusterToJoin(wishes: JoinWishes, options: StartOptions): Promise<JoinedCluster> {
  const { addresses, name, file } = wishes;
  const own = name === undefined ? undefined : await identityOf(join(wishes.dataParent, name));
  const isMember = own?.cluster_id !== undefined;
  const tls = file && ownConfig(file, options, wishes).tls;
  const found = await findCluster(addresses, tls, isMember ? BRIEF_MS : undefined);
  const asked = addresses.map(({ text }) => text).join(', ');
  if (found !== undefined && file !== undefined && found.cluster !== file.cluster) {
    throw usageFailure(
      `the cluster at ${asked} is ${JSON.stringify(found.cluster)}, ${options.config} is for ${JSON.stringify(file.cluster)}: give its own file with --config`,
    );
  }
  if (found !== undefined) return found;
  // Its directory says who the others are; what they are asked for here is only what is new.
  if (isMember) return { cluster: file?.cluster ?? UNNAMED, membership: NOBODY };
  throw new CommandFailure(ExitCode.UNREACHABLE, {
    reason: 'UNAVAILABLE',
    code: 'UNAVAILABLE',
    message: `no node of a cluster answers at ${asked}. Nothing was started: give --join the gRPC address of a node that runs.`,
  });
}

/** Of a cluster that does not answer. */
const NOBODY = { clusterId: '', members: [], version: 0, nextId: 1, founders: [] };

/** What the file makes of a node of this name, whether it has it or not. */
function ownConfig(file: ClusterConfig, { config, node }: StartOptions, { addresses, name }: JoinWishes) {
  const listed = file.nodes.find((one) => one.name === name);
  if (listed !== undefined) return listed;
  const [anywhere] = addresses;
  const unlisted = { name: node ?? 'any', grpc: anywhere!, http: anywhere! };
  return loadClusterFile(config, unlisted).nodes.at(-1)!;
}

function configOf(
  { file }: JoinWishes,
  { config }: StartOptions,
  { cluster }: JoinedCluster,
  node: UnlistedNode,
): ClusterConfig {
  return file === undefined ? configWithoutFile(config, cluster, node) : loadClusterFile(config, node);
}

/** Whether what was made up for a node, its name or ports, is another's. */
function isTaken(error: unknown): boolean {
  for (
    let cause = error as Partial<Taken> | undefined;
    cause !== undefined;
    cause = cause.cause as Partial<Taken>
  )
    if (cause.code === 'EADDRINUSE' || cause.code === 'LEVEL_LOCKED' || cause.reason === 'MEMBER_EXISTS')
      return true;
  return false;
}

interface Taken {
  readonly code: string;
  readonly reason: string;
  readonly cause: unknown;
}
