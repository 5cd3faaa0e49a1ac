import type { NodeConfig } from './cluster-file.ts';

/** How one node is started. */
export interface NodePlan {
  readonly node: NodeConfig;
  readonly dataDirectory: string;
  /** The same as people see it. */
  readonly shownDirectory: string;
  /** Program and arguments of a process that runs only this node. */
  readonly main: string;
  readonly args: readonly string[];
}

/** The command that starts a node by itself, for people to paste. */
export function startCommand({ args }: NodePlan): string {
  const quoted = args.map((arg) => (/^[\w./:=@+-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", `'\\''`)}'`));
  return `npx holdfast ${quoted.join(' ')}`;
}

/** What runs and what to try next. */
export function welcome(cluster: string, plans: readonly NodePlan[], leader: string): string {
  const width = Math.max(...plans.map(({ node }) => node.name.length));
  const [first] = plans;
  const { http: address, tls } = first!.node;
  const http = `${tls === undefined ? 'http' : 'https'}://${address.text}`;
  const curl = `curl${tls?.ca === undefined ? '' : ` --cacert ${tls.ca}`} -i`;
  return [
    '',
    `Holdfast is running: cluster ${cluster}, ${plans.length} ${plans.length === 1 ? 'node' : 'nodes'}, led by ${leader}.`,
    '',
    ...plans.map(
      ({ node, shownDirectory }) =>
        `  ${node.name.padEnd(width)}  gRPC ${node.grpc.text}  HTTP ${node.http.text}  data ${shownDirectory}`,
    ),
    '',
    'Try, in another terminal:',
    '  npx holdfast kv put user/1 Ada',
    '  npx holdfast kv get user/1 --json',
    `  ${curl} -X PUT --data Eve ${http}/v1/kv/default/user%2F1`,
    `  ${curl} ${http}/v1/kv/default/user%2F1`,
    '  npx holdfast cluster status',
    `Metrics: ${http}/metrics`,
    'Ctrl-C stops it; the data stays.',
    '',
    '',
  ].join('\n');
}

/** The same for programs. */
export function readyJson(
  cluster: string,
  plans: readonly (NodePlan & { pid: number })[],
  leader: string,
): unknown {
  return {
    event: 'ready',
    cluster,
    leader,
    nodes: plans.map(({ node, dataDirectory, pid }) => ({
      name: node.name,
      pid,
      endpoints: { grpc: node.grpc.text, http: node.http.text },
      data: dataDirectory,
    })),
  };
}
