/**
 * Who a node is that joins a cluster: name, addresses and directory. What was not said of it
 * follows from the cluster, which one of its nodes is asked for, and from what is on this machine.
 *
 *  1. A directory of a member that was here before, and that no process uses, is started again,
 *     as the member that it was.
 *  2. A node that is new gets a name and ports that nobody has; its addresses are made up only
 *     where the cluster is on this machine alone.
 */
import { readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { sleep } from '@holdfast/client/clock';
import { SystemClock } from '@holdfast/client/system-clock';
import { askIntroduction } from '../cluster/introduce.ts';
import type { Membership } from '../cluster/membership.ts';
import { FileDisk } from '../runtime/file-disk.ts';
import { takeDirectory } from '../runtime/node-ports.ts';
import { readIdentity, type Identity } from '../storage/identity.ts';
import { canListen } from '../transport/listening.ts';
import type { TlsSettings } from '../transport/tls-files.ts';
import type { ClusterConfig, UnlistedNode } from './cluster-file.ts';
import { usageFailure } from './command-failure.ts';
import { NodeCalls } from './node-calls.ts';
import { isLoopback, parseNetworkAddress, type NetworkAddress } from './network-address.ts';

/** So long a cluster is waited for that does not answer. */
const PATIENCE_MS = 20_000;
const ASK_EVERY_MS = 250;
const MOST_PORTS = 1_000;

/** What was said of a node that joins. */
export interface JoinWishes {
  /** `host:port` of gRPC of nodes of the cluster. */
  readonly addresses: readonly NetworkAddress[];
  readonly name: string | undefined;
  readonly grpc: NetworkAddress | undefined;
  readonly http: NetworkAddress | undefined;
  /** Parent of the data directory. */
  readonly dataParent: string;
  /** The cluster file, if there is one. */
  readonly file: ClusterConfig | undefined;
}

/** The cluster, as one of its nodes tells of it. */
export interface JoinedCluster {
  readonly cluster: string;
  readonly membership: Membership;
}

/** The cluster at the addresses; undefined: none of its nodes answers, though they were waited for. */
export async function findCluster(
  addresses: readonly NetworkAddress[],
  tls: TlsSettings | undefined,
  patienceMs = PATIENCE_MS,
): Promise<JoinedCluster | undefined> {
  const clock = new SystemClock();
  const calls = new NodeCalls(tls, clock, () => undefined);
  calls.open();
  const endMs = clock.monotonicMs() + patienceMs;
  try {
    for (;;) {
      const answers = await Promise.all(addresses.map(({ text }) => askIntroduction(calls, text, '')));
      for (const answer of answers)
        if (answer?.membership !== undefined)
          return { cluster: answer.cluster, membership: answer.membership };
      if (clock.monotonicMs() >= endMs) return undefined;
      await sleep(clock, ASK_EVERY_MS);
    }
  } finally {
    calls.close();
  }
}

/** The identity of a directory; undefined: it has none, or cannot be read, which its start will tell. */
export function identityOf(directory: string): Promise<Identity | undefined> {
  return readIdentity(new FileDisk(directory)).catch(() => undefined);
}

/** Who the node is. Error: CommandFailure, wrong usage. */
export async function planJoin(wishes: JoinWishes, { membership }: JoinedCluster): Promise<UnlistedNode> {
  const name = wishes.name ?? (await ownName(wishes, membership)) ?? (await freeName(wishes, membership));
  const known =
    wishes.file?.nodes.find((node) => node.name === name) ??
    (await addressesOf(join(wishes.dataParent, name)));
  if (wishes.grpc !== undefined && wishes.http !== undefined)
    return { name, grpc: wishes.grpc, http: wishes.http };
  const made = known ?? (await freeAddresses(wishes, membership));
  return { name, grpc: wishes.grpc ?? made.grpc, http: wishes.http ?? made.http };
}

/** Where the member that a directory is said that it is. */
export async function addressesOf(directory: string): Promise<Omit<UnlistedNode, 'name'> | undefined> {
  const identity = await identityOf(directory);
  const own = identity?.members?.find(({ node_id: nodeId }) => nodeId === identity.node_id);
  const [grpc, http] = [parsed(own?.grpc), parsed(own?.http)];
  return grpc && http && { grpc, http };
}

function parsed(text = ''): NetworkAddress | undefined {
  const address = parseNetworkAddress(text);
  return 'problem' in address ? undefined : address;
}

/** Invariant 1. */
async function ownName(
  { dataParent, file }: JoinWishes,
  { clusterId, members }: Membership,
): Promise<string | undefined> {
  const listed = new Set(file?.nodes.map(({ name }) => name));
  for (const name of directoriesIn(dataParent).filter((one) => !listed.has(one))) {
    const identity = await identityOf(join(dataParent, name));
    const isMember = members.some(({ nodeId }) => nodeId === identity?.node_id);
    if (identity?.cluster_id !== clusterId || !isMember) continue;
    if (await isFree(join(dataParent, name))) return name;
  }
  return undefined;
}

function directoriesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return []; // it is made when the node starts
  }
}

/** Invariant 2. */
async function freeName({ dataParent, file }: JoinWishes, { members }: Membership): Promise<string> {
  const taken = new Set([...members, ...(file?.nodes ?? [])].map(({ name }) => name));
  const here = new Set(directoriesIn(dataParent));
  for (let number = 1; ; number++) {
    const name = `n${number}`;
    if (taken.has(name)) continue;
    const directory = join(dataParent, name);
    if (!here.has(name)) return name;
    if ((await identityOf(directory))?.cluster_id === undefined && (await isFree(directory))) return name;
  }
}

async function isFree(directory: string): Promise<boolean> {
  try {
    const ports = await takeDirectory(directory);
    await ports.release();
    return true;
  } catch {
    return false;
  }
}

/** Invariant 2. */
async function freeAddresses(
  { addresses, file }: JoinWishes,
  { members }: Membership,
): Promise<Omit<UnlistedNode, 'name'>> {
  const seed = addresses[0]!;
  const known = [
    ...members.flatMap(({ grpc, http }) => [parsed(grpc), parsed(http)]),
    ...(file?.nodes ?? []).flatMap(({ grpc, http }) => [grpc, http]),
  ].filter((address) => address !== undefined);
  if (!isLoopback(seed) || !known.every(isLoopback)) {
    throw usageFailure(
      'the cluster is on more than this machine: say where its nodes are to reach this one, with --grpc host:port and --http host:port',
    );
  }
  const taken = new Set(known.map(({ port }) => port));
  const first = (ports: readonly NetworkAddress[], otherwise: number) =>
    Math.max(otherwise, ...ports.map(({ port }) => port)) + 1;
  const grpcPorts = members.flatMap(({ grpc }) => parsed(grpc) ?? []);
  const httpPorts = members.flatMap(({ http }) => parsed(http) ?? []);
  const grpc = await freePort(seed.host, first(grpcPorts, seed.port), taken);
  taken.add(grpc.port);
  const http = await freePort(seed.host, first(httpPorts, grpc.port), taken);
  return { grpc, http };
}

async function freePort(host: string, from: number, taken: ReadonlySet<number>): Promise<NetworkAddress> {
  for (let port = from; port < Math.min(65_536, from + MOST_PORTS); port++) {
    if (taken.has(port) || !(await canListen(host, port))) continue;
    return parseNetworkAddress(
      host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
    ) as NetworkAddress;
  }
  throw usageFailure(`no port from ${from} on is free: say --grpc host:port and --http host:port`);
}

/** Where data directories are, unless somebody says otherwise. */
export function dataParentOf(configPath: string, dataDir: string | undefined): string {
  return dataDir === undefined ? join(dirname(resolve(configPath)), '.holdfast') : resolve(dataDir);
}
