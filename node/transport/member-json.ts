/** Members as JSON: the one form of the command line and of the HTTP port. */
import type { MemberDescription, MemberStatus } from '@holdfast/client/member-status';

/** Members, and how many groups have replicas on their way. */
export interface ListedMembers {
  readonly members: readonly MemberStatus[];
  readonly movingGroups: number;
}

export function memberListJson({ members, movingGroups }: ListedMembers) {
  return { members: members.map(statusJson), moving_groups: movingGroups };
}

export function memberJson({ id, name, nodeId, grpc, http, state, replaces }: MemberDescription) {
  const endpoints = { grpc: grpc || null, http: http || null };
  return { id, name, node_id: nodeId, endpoints, member_state: state, replaces: replaces ?? null };
}

/** alive, suspect, dead or left. A node that does not say what it holds others for has asked them. */
export function memberState({ liveness, alive }: MemberStatus): string {
  if (liveness !== 'unknown') return liveness;
  return alive ? 'alive' : 'dead';
}

function statusJson(status: MemberStatus) {
  const { zone, datacentre, version, load, starts, replicas } = status;
  return {
    ...memberJson(status),
    state: memberState(status),
    zone: zone || null,
    datacentre: datacentre || null,
    version: version || null,
    load,
    starts: Number(starts),
    replicas,
  };
}
