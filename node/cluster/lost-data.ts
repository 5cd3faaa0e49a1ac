/**
 * Members that lost their data. A node that comes back with a new directory under a member's
 * name is taken in as a new member, in that one's place: it votes under another number, so it
 * cannot break what the old one promised.
 *
 *  1. Only a node that says that it never belonged to a cluster, found where the member is
 *     reached, is taken for that; and only when the member itself is heard of no more.
 */
import type { Transport } from '@holdfast/client/transport';
import { askIntroduction } from './introduce.ts';
import { withReplacement } from './member-change.ts';
import type { ClusterMember, Introduction, MemberTable } from './membership.ts';

export interface LostDataOptions {
  /** Name of this node. */
  readonly self: string;
  /** Name of the cluster in cluster.yaml; undefined: any. */
  readonly cluster: string | undefined;
  readonly transport: Transport | undefined;
  readonly addressOf: (member: ClusterMember) => string;
}

/** The table with a node that lost its data in its own place; undefined: there is none, or another change comes first. */
export async function tableWithReturned(
  table: MemberTable,
  isAway: (id: number) => boolean,
  options: LostDataOptions,
): Promise<MemberTable | undefined> {
  const { transport, self, addressOf } = options;
  if (transport === undefined || table.members.some(({ state }) => state === 'joining')) return undefined;
  const away = table.members.filter(({ id, state }) => state === 'active' && isAway(id));
  for (const member of away) {
    const heard = await askIntroduction(transport, addressOf(member), self);
    if (heard === undefined || !isReturned(member, heard, options)) continue;
    const { name, grpc, http } = member;
    return withReplacement(table, name, { name, nodeId: heard.nodeId, grpc, http });
  }
  return undefined;
}

/** Invariant 1. */
function isReturned(
  { name, nodeId }: ClusterMember,
  heard: Introduction,
  { cluster = heard.cluster }: LostDataOptions,
): boolean {
  const isNew = heard.membership === undefined && heard.nodeId !== nodeId;
  return isNew && heard.name === name && heard.cluster === cluster;
}
