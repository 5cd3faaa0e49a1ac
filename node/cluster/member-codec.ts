/** The members of a cluster as messages, in the coordination tree and between nodes. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  MemberState,
  MemberTableSchema,
  type ClusterMember as MemberMessage,
  type MemberTable as TableMessage,
} from '@holdfast/proto/cluster/v1/cluster';
import type { ClusterMember, MemberTable, MembershipState } from './membership.ts';

const STATES: Readonly<Record<MembershipState, MemberState>> = {
  joining: MemberState.JOINING,
  active: MemberState.ACTIVE,
  leaving: MemberState.LEAVING,
};

/** What is written for a member, without what the library adds. */
export function memberMessage({ id, name, nodeId, grpc, http, state, replaces }: ClusterMember) {
  return { id, name, nodeId, endpoints: { grpc, http }, state: STATES[state], replaces };
}

/** What is written for a table, without what the library adds. */
export function tableMessage({ version, nextId, members }: MemberTable) {
  return { version: BigInt(version), nextId, members: members.map(memberMessage) };
}

export function tableOf({ version, nextId, members }: TableMessage): MemberTable {
  return { version: Number(version), nextId, members: members.map(memberOf) };
}

export function encodeTable(table: MemberTable): Uint8Array {
  return toBinary(MemberTableSchema, create(MemberTableSchema, tableMessage(table)));
}

export function decodeTable(bytes: Uint8Array): MemberTable {
  return tableOf(fromBinary(MemberTableSchema, bytes));
}

function memberOf({ id, name, nodeId, endpoints, state, replaces }: MemberMessage): ClusterMember {
  const { grpc = '', http = '' } = endpoints ?? {};
  return { id, name, nodeId, grpc, http, state: stateOf(state), replaces };
}

function stateOf(state: MemberState): MembershipState {
  if (state === MemberState.JOINING) return 'joining';
  return state === MemberState.LEAVING ? 'leaving' : 'active';
}
