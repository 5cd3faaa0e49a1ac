/**
 * A cluster of real nodes, each a process of its own over a directory that goes away with
 * the cluster: kill, stop, pause and start one by name, see who leads what and how far each
 * has come. With a `TestNetwork` each node has a host of its own, whose links can be cut.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { connect, type ConnectOptions, type Holdfast } from '@holdfast/client';
import { keyHash } from '@holdfast/client/key-hash';
import {
  GetStatusResponseSchema,
  GroupRole,
  type GroupStatus,
  type NodeStatus,
} from '@holdfast/proto/cluster/v1/cluster';
import { freePorts, HOST, RealNode, until } from './real-node.ts';
import type { TestNetwork } from './test-network.ts';

/** A node that does not answer by then is taken for one that does not answer. */
const ASK_MS = 1_000;
const READY_MS = 60_000;
/** Time of a call of a client that says nothing else: enough for some elections on a busy machine. */
const CALL_MS = 30_000;

export interface RealClusterOptions {
  /** Default 3. */
  readonly nodes?: number;
  /** Default `test`. */
  readonly name?: string;
  /** Lines below `storage:` of cluster.yaml. */
  readonly storage?: readonly string[];
  /** Lines below `log:` of cluster.yaml. */
  readonly log?: readonly string[];
  /** Lines below `coordination:` of cluster.yaml. */
  readonly coordination?: readonly string[];
  /** Lines below `tls:` of cluster.yaml; paths are relative to a node's directory. */
  readonly tls?: readonly string[];
  /** Called with a node's directory before it starts. */
  readonly furnish?: (directory: string) => void;
  /** Gives each node a host of its own; the cluster does not dispose of it. */
  readonly network?: TestNetwork;
  /** More of the environment of a node's process. */
  readonly env?: (name: string) => Readonly<Record<string, string>>;
  /** Parent of a node's data directory; default: the cluster's own. */
  readonly under?: (name: string) => string | undefined;
}

/** Ends a process with the one that started it, even if it is stopped at that moment. */
const DIES_WITH_PARENT = findPdeathsig();

export class RealCluster implements AsyncDisposable {
  readonly #nodes: RealNode[];
  readonly #directory: string;
  readonly #options: RealClusterOptions;
  readonly #clients: Holdfast[] = [];

  private constructor(directory: string, nodes: RealNode[], options: RealClusterOptions) {
    this.#directory = directory;
    this.#nodes = nodes;
    this.#options = options;
  }

  get nodes(): readonly RealNode[] {
    return this.#nodes;
  }

  /** Nodes that are set up and not started. */
  static async prepare(options: RealClusterOptions = {}): Promise<RealCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-cluster-'));
    const names = Array.from({ length: options.nodes ?? 3 }, (_, at) => `n${at + 1}`);
    const ports = await freePorts(2 * names.length);
    const addresses = names.map((name, at) => {
      const host = options.network?.addressOf(name) ?? HOST;
      return { name, grpc: `${host}:${ports[2 * at]}`, http: `${host}:${ports[2 * at + 1]}` };
    });
    const nodes = addresses.map((address) => createNode(directory, options, address, addresses));
    return new RealCluster(directory, nodes, options);
  }

  /**
   * One more node, over an empty directory, that is set up and not started. Its cluster.yaml
   * names it and the others of now; theirs do not name it.
   */
  async extend(name: string): Promise<RealNode> {
    const [grpc, http] = await freePorts(2);
    const host = this.#options.network?.addressOf(name) ?? HOST;
    const address = { name, grpc: `${host}:${grpc}`, http: `${host}:${http}` };
    const node = createNode(this.#directory, this.#options, address, [...this.#nodes, address]);
    this.#nodes.push(node);
    return node;
  }

  /**
   * One more node, that no file names and that is started with the address of another one to
   * join; set up and not started. `args`: further arguments, as for permissions.
   */
  async joining(name: string, seed: string, args: readonly string[] = []): Promise<RealNode> {
    const [grpc, http] = await freePorts(2);
    const host = this.#options.network?.addressOf(name) ?? HOST;
    const own = join(this.#directory, name);
    mkdirSync(own);
    this.#options.furnish?.(own);
    const place = { name, grpc: `${host}:${grpc}`, http: `${host}:${http}` };
    const where = ['--grpc', place.grpc, '--http', place.http, '--data-dir', join(own, 'data')];
    const node = new RealNode({
      ...place,
      directory: own,
      dataParent: join(own, 'data'),
      isTls: this.#options.tls !== undefined,
      env: this.#options.env?.(name) ?? {},
      launcher: [...(this.#options.network?.launcher(name) ?? []), ...DIES_WITH_PARENT],
      args: ['start', '--join', this.node(seed).grpc, '--node', name, ...where, ...args],
    });
    this.#nodes.push(node);
    return node;
  }

  /** Leaves a node out of everything from now on; it ends at once. */
  async forget(name: string): Promise<void> {
    const node = this.node(name);
    this.#nodes.splice(this.#nodes.indexOf(node), 1);
    await node[Symbol.asyncDispose]();
  }

  /** A cluster all of whose nodes take calls. */
  static async start(options: RealClusterOptions = {}): Promise<RealCluster> {
    const cluster = await RealCluster.prepare(options);
    try {
      for (const node of cluster.nodes) cluster.spawn(node.name);
      await cluster.ready();
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  get names(): string[] {
    return this.nodes.map(({ name }) => name);
  }

  get endpoints(): string[] {
    return this.nodes.map(({ grpc }) => grpc);
  }

  node(name: string): RealNode {
    return this.nodes.find((node) => node.name === name)!;
  }

  /** A client of all nodes, which ends with the cluster at the latest. `first`: the node that it asks first. */
  async connect(options: ConnectOptions = {}, first = 0): Promise<Holdfast> {
    const all = this.endpoints;
    const endpoints = [...all.slice(first % all.length), ...all.slice(0, first % all.length)];
    // Whoever is given some nodes is to ask these alone.
    const discover = options.endpoints === undefined;
    const client = await connect({ endpoints, timeout: CALL_MS, discover, ...options });
    this.#clients.push(client);
    return client;
  }

  /** Starts the process of a node and does not wait. */
  spawn(name: string): void {
    void this.node(name).spawn();
  }

  /** Starts a node again; resolves when it serves and has what its leaders have. */
  async restart(name: string): Promise<void> {
    this.spawn(name);
    await this.ready([name]);
    await this.caughtUp([name]);
  }

  /** Resolves when these nodes answer /readyz with 200. */
  async ready(names: readonly string[] = this.names, withinMs = READY_MS): Promise<void> {
    for (const name of names) {
      await until(
        async () => {
          const node = this.node(name);
          if (!node.isRunning) throw new Error(`${name} has ended: ${node.output.slice(-4_000)}`);
          return (await this.readiness(name))?.status === 200;
        },
        withinMs,
        () => `${name} is not ready: ${this.node(name).output.slice(-4_000)}`,
      );
    }
  }

  /** What /readyz answers; undefined: nothing. */
  async readiness(name: string): Promise<{ status: number; text: string } | undefined> {
    try {
      const response = await fetch(`${this.node(name).url}/readyz`, { signal: AbortSignal.timeout(ASK_MS) });
      return { status: response.status, text: await response.text() };
    } catch {
      return undefined;
    }
  }

  /** What a node says of itself; undefined: nothing. */
  async status(name: string): Promise<NodeStatus | undefined> {
    try {
      const response = await fetch(`${this.node(name).url}/holdfast.cluster.v1.ClusterService/GetStatus`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{}',
        signal: AbortSignal.timeout(ASK_MS),
      });
      if (!response.ok) return undefined;
      return fromJson(GetStatusResponseSchema, (await response.json()) as JsonValue).nodes[0];
    } catch {
      return undefined;
    }
  }

  /** What a node says of itself, as soon as it answers. */
  async answer(name: string): Promise<NodeStatus> {
    let status: NodeStatus | undefined;
    await until(
      async () => (status = await this.status(name)) !== undefined,
      READY_MS,
      () => `${name} does not answer: ${this.node(name).output.slice(-4_000)}`,
    );
    return status!;
  }

  /** By group, whoever leads it in the newest term, with its account of the group. */
  async leaders(): Promise<Map<bigint, { name: string; group: GroupStatus }>> {
    const leaders = new Map<bigint, { name: string; group: GroupStatus }>();
    const statuses = await Promise.all(this.names.map((name) => this.status(name)));
    for (const { name, groups } of statuses.filter((status) => status !== undefined)) {
      for (const group of groups.filter(({ role }) => role === GroupRole.LEADER)) {
        const known = leaders.get(group.group);
        if (known === undefined || known.group.term < group.term) leaders.set(group.group, { name, group });
      }
    }
    return leaders;
  }

  /** The group that a key belongs to. */
  async groupOf(client: Holdfast, keyspace: string, key: string): Promise<bigint> {
    const hash = keyHash(Buffer.from(key));
    const { partitions } = await client.keyspaces.describe(keyspace);
    return partitions.find(({ firstHash, lastHash }) => hash >= firstHash && hash <= lastHash)!.group;
  }

  /** Name of the node that leads a group, as soon as one does. */
  async leaderOf(group: bigint, among: readonly string[] = this.names): Promise<string> {
    let leader: string | undefined;
    await until(
      async () => {
        leader = (await this.leaders()).get(group)?.name;
        return leader !== undefined && among.includes(leader);
      },
      30_000,
      () => `group ${group} is led by ${leader ?? 'nobody'}, not one of ${among.join(', ')}`,
    );
    return leader!;
  }

  /** Resolves when these nodes have applied what the leaders had committed when this was called. */
  async caughtUp(names: readonly string[] = this.names, withinMs = READY_MS): Promise<void> {
    const leaders = await this.leaders();
    for (const name of names) {
      let behind: string[] = ['no answer'];
      await until(
        async () => {
          const status = await this.status(name);
          if (status === undefined) return false;
          const applied = new Map(status.groups.map(({ group, appliedIndex }) => [group, appliedIndex]));
          behind = [...leaders].flatMap(
            ([
              group,
              {
                group: { commitIndex, voters },
              },
            ]) => {
              const at = applied.get(group) ?? 0n;
              return voters.includes(name) && at < commitIndex
                ? [`group ${group} at ${at} of ${commitIndex}`]
                : [];
            },
          );
          return behind.length === 0;
        },
        withinMs,
        () => `${name} does not catch up: ${behind.join(', ')}`,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close({ timeout: 0 })));
    await Promise.all(this.nodes.map((node) => node[Symbol.asyncDispose]()));
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

interface NodeAddress {
  readonly name: string;
  readonly grpc: string;
  readonly http: string;
}

/** A node over a directory of its own, with a cluster.yaml that names `all`. */
function createNode(
  directory: string,
  options: RealClusterOptions,
  { name, grpc, http }: NodeAddress,
  all: readonly NodeAddress[],
): RealNode {
  const own = join(directory, name);
  mkdirSync(own);
  writeFileSync(join(own, 'cluster.yaml'), clusterYaml(options, all));
  options.furnish?.(own);
  return new RealNode({
    name,
    directory: own,
    dataParent: options.under?.(name) ?? join(own, 'data'),
    grpc,
    http,
    isTls: options.tls !== undefined,
    env: options.env?.(name) ?? {},
    launcher: [...(options.network?.launcher(name) ?? []), ...DIES_WITH_PARENT],
  });
}

function clusterYaml(
  {
    name = 'test',
    storage = ['segment_bytes: 1MiB', 'min_free_bytes: 8MiB'],
    log = [],
    coordination = [],
    tls = [],
  }: RealClusterOptions,
  nodes: readonly NodeAddress[],
): string {
  const section = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : [`${title}:`, ...lines.map((line) => `  ${line}`)];
  return [
    `cluster: ${name}`,
    'nodes:',
    ...nodes.flatMap((node) => [
      `  - name: ${node.name}`,
      `    grpc: ${node.grpc}`,
      `    http: ${node.http}`,
    ]),
    ...section('storage', storage),
    ...section('log', log),
    ...section('coordination', coordination),
    ...section('tls', tls),
    '',
  ].join('\n');
}

function findPdeathsig(): readonly string[] {
  const launcher = ['setpriv', '--pdeathsig', 'KILL', '--'];
  try {
    execFileSync(launcher[0]!, [...launcher.slice(1), 'true'], { stdio: 'ignore' });
    return launcher;
  } catch {
    return [];
  }
}
