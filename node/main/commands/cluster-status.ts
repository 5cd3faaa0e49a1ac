import { toJson } from '@bufbuild/protobuf';
import {
  GroupRole,
  type GroupStatus,
  GroupStatusSchema,
  Liveness,
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
  /** What the others hold it for, if one of them said. */
  liveness?: string;
}

/** `holdfast cluster status`. Every node is asked for itself, so that none hides behind another. */
export async function status(options: ClusterOptions): Promise<ExitCode> {
  const named = await selectEndpoints(options);
  const first = await Promise.all(named.map((endpoint) => ask(endpoint, options)));
  const others = heardOf(named, first);
  const endpoints = [...named, ...others];
  const asked = [...first, ...(await Promise.all(others.map((endpoint) => ask(endpoint, options))))];
  const nodes = merged(endpoints, asked).map((node) => ({ ...node, ...livenessOf(node, asked) }));
  const ids = asked.flatMap((answer) => (answer instanceof CommandFailure ? [] : [answer.clusterId]));
  const clusterId = ids.find((id) => id !== '') ?? ids[0] ?? null;
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
    ['NODE', 'STATE', 'SEEN', 'REPLICAS', 'LEADS', 'PID', 'GRPC', 'HTTP', 'VERSION'],
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

/** The nodes that others told of, where they told of them. */
function heardOf(named: readonly KnownEndpoint[], answers: readonly Answer[]): KnownEndpoint[] {
  const nodes = answers.flatMap((answer) => (answer instanceof CommandFailure ? [] : answer.nodes));
  const known = new Set(named.map(({ grpc }) => grpc));
  const names = new Set(
    answers.flatMap((answer) => (answer instanceof CommandFailure ? [] : (answer.nodes[0]?.name ?? []))),
  );
  const others = new Map<string, KnownEndpoint>();
  for (const { name, endpoints } of nodes) {
    const grpc = endpoints?.grpc ?? '';
    if (grpc === '' || known.has(grpc) || names.has(name)) continue;
    others.set(name, { ...named[0]!, name, grpc, http: undefined });
  }
  return [...others.values()];
}

function merged(endpoints: readonly KnownEndpoint[], asked: readonly Answer[]): NodeJson[] {
  const found = new Map<string, NodeJson>();
  endpoints.forEach((endpoint, index) => {
    const { name, grpc, http } = endpoint;
    const answer = asked[index]!;
    const self = answer instanceof CommandFailure ? undefined : answer.nodes[0];
    if (self !== undefined) found.set(self.name, nodeJson(self, endpoint));
    else if (name === undefined || !found.has(name))
      found.set(name ?? grpc, {
        name: name ?? null,
        pid: null,
        state: 'unreachable',
        endpoints: { grpc, http: http ?? null },
      });
  });
  return [...found.values()].sort((a, b) => ((a.name ?? '') < (b.name ?? '') ? -1 : 1));
}

/** What the first that answered holds a node for; a node says more of the others than of itself. */
function livenessOf({ name }: NodeJson, answers: readonly Answer[]): Pick<NodeJson, 'liveness'> {
  const told = answers.flatMap((answer) => (answer instanceof CommandFailure ? [] : answer.nodes));
  const known = told.filter((node) => node.name === name && node.liveness !== Liveness.UNSPECIFIED);
  const said = known.find(({ pid }) => pid === 0) ?? known[0];
  return said === undefined ? {} : { liveness: Liveness[said.liveness].toLowerCase() };
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

function row({ name, state, liveness, pid, endpoints, version }: NodeJson, led: readonly string[]): string[] {
  return [
    name ?? '?',
    state,
    liveness ?? '-',
    ...led,
    pid === null ? '-' : String(pid),
    endpoints.grpc,
    endpoints.http ?? '-',
    version ?? '-',
  ];
}
