import { toJson } from '@bufbuild/protobuf';
import {
  GroupStatusSchema,
  NodeState,
  type NodeStatus,
  type GetStatusResponse,
  StorageStatusSchema,
} from '@holdfast/proto/cluster/v1/cluster';
import { callEndpoints, type ClusterOptions } from '../cluster-call.ts';
import { CommandFailure } from '../command-failure.ts';
import { type KnownEndpoint, selectEndpoints } from '../endpoint-selection.ts';
import { ExitCode } from '../exit-code.ts';
import { printJson, printTable } from '../output.ts';
import { rfc3339 } from '../rfc3339.ts';

/** A node as `--json` shows it; more fields follow when it answered. */
interface NodeJson {
  name: string | null;
  pid: number | null;
  state: string;
  endpoints: { grpc: string; http: string | null };
  version?: string;
}

/** `holdfast cluster status`. Every node is asked for itself, so that none hides behind another. */
export async function status(options: ClusterOptions): Promise<ExitCode> {
  const endpoints = await selectEndpoints(options);
  const asked = await Promise.all(endpoints.map((endpoint) => ask(endpoint, options)));
  const nodes = merged(endpoints, asked);
  const clusterId = asked.find((answer) => 'clusterId' in answer)?.clusterId ?? null;
  if (options.json) await printJson({ cluster_id: clusterId, nodes });
  else await printTable(['NODE', 'STATE', 'PID', 'GRPC', 'HTTP', 'VERSION'], nodes.map(row));
  if (clusterId !== null) return ExitCode.DONE;
  throw asked[0] as CommandFailure;
}

type Answer = GetStatusResponse | CommandFailure;

async function ask(endpoint: KnownEndpoint, options: ClusterOptions): Promise<Answer> {
  try {
    return await callEndpoints([endpoint], options, (client, signal) => client.status({ signal }));
  } catch (error) {
    if (error instanceof CommandFailure && error.exitCode !== ExitCode.USAGE) return error;
    throw error;
  }
}

function merged(endpoints: readonly KnownEndpoint[], asked: readonly Answer[]): NodeJson[] {
  const found = new Map<string, NodeJson>();
  asked.forEach((answer, index) => {
    const [self, ...others] = answer instanceof CommandFailure ? [] : answer.nodes;
    if (self === undefined) return;
    found.set(self.name, nodeJson(self, endpoints[index]!));
    for (const other of others) {
      if (!found.has(other.name)) found.set(other.name, nodeJson(other, undefined));
    }
  });
  const silent = endpoints.filter((_, index) => asked[index] instanceof CommandFailure);
  for (const endpoint of silent) {
    const { name, grpc, http } = endpoint;
    found.set(name ?? grpc, {
      name: name ?? null,
      pid: null,
      state: 'unreachable',
      endpoints: { grpc, http: http ?? null },
    });
  }
  const order = (node: NodeJson) =>
    endpoints.findIndex(({ name, grpc }) => name === node.name || grpc === node.endpoints.grpc);
  return [...found.values()].sort((a, b) => order(a) - order(b));
}

const STATES: Readonly<Record<NodeState, string>> = {
  [NodeState.UNSPECIFIED]: 'unknown',
  [NodeState.STARTING]: 'starting',
  [NodeState.RUNNING]: 'running',
  [NodeState.STOPPING]: 'stopping',
  [NodeState.DISK_LOW]: 'disk_low',
  [NodeState.DAMAGED]: 'damaged',
};

function nodeJson(node: NodeStatus, asked: KnownEndpoint | undefined): NodeJson & Record<string, unknown> {
  const options = { useProtoFieldName: true, alwaysEmitImplicit: true };
  return {
    name: node.name,
    pid: node.pid,
    state: STATES[node.state] ?? 'unknown',
    endpoints: {
      grpc: node.endpoints?.grpc || (asked?.grpc ?? ''),
      http: node.endpoints?.http || (asked?.http ?? null),
    },
    node_id: node.nodeId,
    version: node.version,
    started_at: rfc3339(Number(node.startedAtMs)),
    incarnation: node.incarnation.toString(),
    groups: node.groups.map((group) => toJson(GroupStatusSchema, group, options)),
    storage: node.storage === undefined ? null : toJson(StorageStatusSchema, node.storage, options),
  };
}

function row({ name, state, pid, endpoints, version }: NodeJson): string[] {
  return [
    name ?? '?',
    state,
    pid === null ? '-' : String(pid),
    endpoints.grpc,
    endpoints.http ?? '-',
    version ?? '-',
  ];
}
