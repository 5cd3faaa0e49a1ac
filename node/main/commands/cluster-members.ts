import type { MemberDescription, MemberStatus } from '@holdfast/client/cluster';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { print, printJson, printTable } from '../output.ts';

/** Where a node that is taken in is reached. */
export interface AddOptions extends ClusterOptions {
  grpc: string;
  http: string;
}

/** Options of `holdfast cluster remove`. */
export interface RemoveOptions extends ClusterOptions {
  allowFewerCopies?: boolean;
}

/** Options of `holdfast cluster transfer`. */
export interface TransferOptions extends ClusterOptions {
  group?: bigint;
  to?: string;
}

/** `holdfast cluster members`. */
export async function members(options: ClusterOptions): Promise<void> {
  const list = await withCluster(options, (client, signal) => client.cluster.members({ signal }));
  if (options.json)
    return printJson({ members: list.members.map(statusJson), moving_groups: list.movingGroups });
  await printTable(
    ['NODE', 'ID', 'MEMBER', 'NODE STATE', 'REPLICAS', 'GRPC', 'HTTP'],
    list.members.map(({ name, id, state, alive, replicas, grpc, http }) => {
      return [name, String(id), state, alive ? 'alive' : 'dead', String(replicas), grpc || '-', http || '-'];
    }),
  );
  if (list.movingGroups > 0) await print(`\nreplicas of ${groupsText(list.movingGroups)} are on their way\n`);
}

/** `holdfast cluster add`. */
export async function add(name: string, { grpc, http, ...options }: AddOptions): Promise<void> {
  const member = await withCluster(options, (client, signal) =>
    client.cluster.add({ name, grpc, http }, { signal }),
  );
  if (options.json) return printJson(memberJson(member));
  return print(`${name} is ${member.state}, as number ${member.id}. ${SEE}`);
}

/** `holdfast cluster remove`. */
export async function remove(name: string, options: RemoveOptions): Promise<void> {
  const { allowFewerCopies = false } = options;
  await withCluster(options, (client, signal) => client.cluster.remove(name, { signal, allowFewerCopies }));
  if (options.json) return printJson({ name, state: 'leaving' });
  return print(`${name} is leaving; when nothing is left on it, it is no member and ends. ${SEE}`);
}

/** `holdfast cluster replace`. */
export async function replace(
  oldName: string,
  name: string,
  { grpc, http, ...options }: AddOptions,
): Promise<void> {
  const member = await withCluster(options, (client, signal) =>
    client.cluster.replace(oldName, { name, grpc, http }, { signal }),
  );
  if (options.json) return printJson(memberJson(member));
  return print(`${name} is ${member.state} in place of ${oldName}, as number ${member.id}. ${SEE}`);
}

/** `holdfast cluster transfer`. */
export async function transfer(name: string, { group, to, ...options }: TransferOptions): Promise<void> {
  const { handedOver, kept } = await withCluster(options, (client, signal) =>
    client.cluster.transfer(name, { signal, group, to }),
  );
  if (options.json) return printJson({ name, handed_over: handedOver, kept });
  const rest = kept === 0 ? '' : `, and leads ${groupsText(kept)} still, which nobody else can take now`;
  return print(`${name} has handed over ${groupsText(handedOver)}${rest}\n`);
}

const SEE = 'See `holdfast cluster members`.\n';

function groupsText(count: number): string {
  return `${count} ${count === 1 ? 'group' : 'groups'}`;
}

function memberJson({ id, name, nodeId, grpc, http, state, replaces }: MemberDescription) {
  const endpoints = { grpc: grpc || null, http: http || null };
  return { id, name, node_id: nodeId, endpoints, member_state: state, replaces: replaces ?? null };
}

function statusJson(status: MemberStatus) {
  return { ...memberJson(status), state: status.alive ? 'alive' : 'dead', replicas: status.replicas };
}
