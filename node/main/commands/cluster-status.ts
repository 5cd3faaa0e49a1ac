import { toJson } from '@bufbuild/protobuf';
import {
  GroupRole,
  type GroupStatus,
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
import { print, printJson, printTable } from '../output.ts';
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
  else await show(nodes, asked);
  if (clusterId !== null) return ExitCode.DONE;
  throw asked[0] as CommandFailure;
}

async function show(nodes: readonly NodeJson[], asked: readonly Answer[]): Promise<void> {
  const answered = asked.flatMap((answer) =>
    answer instanceof CommandFailure ? [] : answer.nodes.slice(0, 1),
  );
  const led = (name: string | null) => {
    const own = answered.find((node) => node.name === name);
    if (own === undefined) return ['-', '-'];
    const leads = own.groups.filter(({ role }) => role === GroupRole.LEADER).length;
    return [String(own.groups.length), String(leads)];
  };
  await printTable(
    ['NODE', 'STATE', 'REPLICAS', 'LEADS', 'PID', 'GRPC', 'HTTP', 'VERSION'],
    nodes.map((node) => row(node, led(node.name))),
  );
  for (const { name, waitsFor } of answered) if (waitsFor !== '') await print(`${name} waits: ${waitsFor}\n`);
  const groups = groupRows(answered);
  if (groups.length === 0) return;
  await print('\n');
  await printTable(GROUP_HEADINGS, groups.slice(0, SHOWN_GROUPS));
  const hidden = groups.length - SHOWN_GROUPS;
  if (hidden > 0) await print(`and ${hidden} more; --json shows all\n`);
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
    id: node.id,
    waits_for: node.waitsFor || null,
    groups: node.groups.map((group) => toJson(GroupStatusSchema, group, options)),
    storage: node.storage === undefined ? null : toJson(StorageStatusSchema, node.storage, options),
  };
}

/** Tables of more groups are for programs. */
const SHOWN_GROUPS = 64;
const GROUP_HEADINGS = ['GROUP', 'KEYSPACE', 'LEADER', 'TERM', 'COMMITTED', 'REPLICAS (ENTRIES BEHIND)'];

/** A line for each group, by whoever leads it or has its newest term. */
function groupRows(nodes: readonly NodeStatus[]): string[][] {
  const best = new Map<bigint, { node: string; status: GroupStatus }>();
  for (const { name: node, groups } of nodes) {
    for (const status of groups) {
      const known = best.get(status.group)?.status;
      if (known === undefined || isBetter(status, known)) best.set(status.group, { node, status });
    }
  }
  const sorted = [...best.values()].sort((a, b) => Number(a.status.group - b.status.group));
  return sorted.map(({ node, status }) => [
    String(status.group),
    status.keyspace || '(cluster)',
    status.role === GroupRole.LEADER ? node : status.leader || 'none',
    String(status.term),
    String(status.commitIndex),
    replicasText(status),
  ]);
}

function isBetter(status: GroupStatus, known: GroupStatus): boolean {
  const leads = ({ role }: GroupStatus) => role === GroupRole.LEADER;
  if (leads(status) !== leads(known)) return leads(status);
  return status.term > known.term;
}

function replicasText({ voters, learners, followers }: GroupStatus): string {
  const lags = new Map(followers.map((follower) => [follower.name, follower]));
  const shown = (name: string, kind: string) => {
    const follower = lags.get(name);
    const lag = follower === undefined ? '' : ` (${follower.active ? follower.lagEntries : 'away'})`;
    return `${name}${kind}${lag}`;
  };
  return [...voters.map((name) => shown(name, '')), ...learners.map((name) => shown(name, ' learner'))].join(
    ', ',
  );
}

function row({ name, state, pid, endpoints, version }: NodeJson, led: readonly string[]): string[] {
  return [
    name ?? '?',
    state,
    ...led,
    pid === null ? '-' : String(pid),
    endpoints.grpc,
    endpoints.http ?? '-',
    version ?? '-',
  ];
}
