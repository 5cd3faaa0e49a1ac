import type { MemberList, MemberUpdate } from '@holdfast/client/cluster';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { Interruption, interruption } from '../interruption.ts';
import { print, printJson, printTable } from '../output.ts';
import { memberJson, memberListJson, memberState } from '../../transport/member-json.ts';

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

/** Options of `holdfast cluster members`. */
export interface MembersOptions extends ClusterOptions {
  watch?: boolean;
}

/** `holdfast cluster members`. */
export async function members(options: MembersOptions): Promise<void> {
  if (options.watch === true) return watchMembers(options);
  const list = await withCluster(options, (client, signal) =>
    client.cluster.members({ signal, local: true }),
  );
  return options.json ? printJson(memberListJson(list)) : showList(list);
}

/** Until somebody ends it: everything first, then what changes; with --json everything each time. */
async function watchMembers(options: MembersOptions): Promise<void> {
  await withCluster(options, async (client, hopeless) => {
    const signal = interruption(hopeless);
    const seen = new Map<string, string>();
    try {
      for await (const update of client.cluster.watchMembers({ signal })) {
        if (options.json) await printJson(memberListJson(update));
        else if (seen.size === 0) await showList(update);
        else await print(changeLines(update, seen));
        for (const member of update.members) seen.set(member.name, memberState(member));
        for (const name of update.gone) seen.delete(name);
      }
    } catch (error) {
      if (!(signal.reason instanceof Interruption)) throw error;
    }
  });
}

async function showList({ members: list, movingGroups }: MemberList): Promise<void> {
  await printTable(
    ['NODE', 'ID', 'MEMBER', 'STATE', 'ZONE', 'REPLICAS', 'GRPC', 'HTTP', 'VERSION'],
    list.map((member) => {
      const { name, id, state, zone, replicas, grpc, http, version } = member;
      const where = [grpc || '-', http || '-', version || '-'];
      return [name, String(id), state, memberState(member), zone || '-', String(replicas), ...where];
    }),
  );
  if (movingGroups > 0) await print(`\nreplicas of ${groupsText(movingGroups)} are on their way\n`);
}

function changeLines({ changed, gone }: MemberUpdate, seen: ReadonlyMap<string, string>): string {
  const lines = changed.flatMap((member) => {
    const [before, now] = [seen.get(member.name), memberState(member)];
    if (before === now) return [];
    return [`${member.name} is ${now}${before === undefined ? ', a new member' : `, was ${before}`}\n`];
  });
  return [...lines, ...gone.map((name) => `${name} is no member any more\n`)].join('');
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
