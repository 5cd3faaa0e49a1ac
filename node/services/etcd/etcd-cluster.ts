/** `etcdserverpb.Cluster`: the members, as etcd's clients find them. What changes them is ours. */
import { create } from '@bufbuild/protobuf';
import { HoldfastError, type HoldfastErrorInit } from '@holdfast/client/error';
import {
  Cluster,
  MemberListResponseSchema,
  MemberRemoveResponseSchema,
  MemberSchema,
  type Member,
} from '@holdfast/proto/etcd/rpc';
import type { ClusterMembers } from '../../cluster/cluster-members.ts';
import type { MemberChanges } from '../../cluster/member-changes.ts';
import type { ClusterMember } from '../../cluster/membership.ts';
import type { GroupHost } from '../../raft/group-host.ts';
import { serve, type ServedService } from '../handler.ts';
import { EtcdError, asEtcd } from './etcd-error.ts';
import { etcdId, type HeaderOf } from './etcd-header.ts';

const NOTHING = 'Nothing was changed.';

export interface EtcdClusterOptions {
  readonly members: Pick<ClusterMembers, 'current'>;
  readonly changes: Pick<MemberChanges, 'remove'>;
  readonly host: Pick<GroupHost, 'members'>;
  readonly header: HeaderOf;
  /** Whether the port speaks TLS. */
  readonly hasTls: boolean;
}

export function etcdClusterService(options: EtcdClusterOptions): ServedService {
  const { members, changes, header } = options;
  const listed = () => members.current.members.map((member) => memberMessage(member, options));
  return serve(Cluster, {
    async memberList() {
      return create(MemberListResponseSchema, { header: header(0), members: listed() });
    },

    memberAdd: () =>
      asEtcd(() => {
        throw unserved(`start the node and use "holdfast cluster add"`);
      }),

    memberRemove: (_, { ID }) =>
      asEtcd(async () => {
        await changes.remove(memberOf(members, ID).name, false);
        return create(MemberRemoveResponseSchema, { header: header(0), members: listed() });
      }),

    memberUpdate: (_, { ID }) =>
      asEtcd(() => {
        const { name } = memberOf(members, ID);
        throw unserved(`the addresses of ${name} are those of its cluster.yaml; change them there`);
      }),

    memberPromote: (_, { ID }) =>
      asEtcd(() => {
        const { state } = memberOf(members, ID);
        const which = state === 'joining' ? ' which is in sync with leader' : '';
        throw refused('MEMBER_CHANGE_REFUSED', `can only promote a learner member${which}`);
      }),
  });
}

/** The member of a number. Error: member not found. */
export function memberOf({ current }: Pick<ClusterMembers, 'current'>, id: bigint): ClusterMember {
  const found = current.members.find(({ nodeId }) => etcdId(nodeId) === id);
  if (found !== undefined) return found;
  const text = 'member not found';
  const init: HoldfastErrorInit = { reason: 'MEMBER_UNKNOWN', message: text, actual: id.toString(16) };
  throw new EtcdError({ ...init, outcome: 'NOT_APPLIED' }, 'NOT_FOUND', text);
}

/** One port serves members and clients. */
function memberMessage(member: ClusterMember, { host, hasTls }: EtcdClusterOptions): Member {
  const { id, name, nodeId, grpc, state } = member;
  const address = host.members.find((known) => known.id === id)?.address ?? grpc;
  const urls = address === '' ? [] : [`${hasTls ? 'https' : 'http'}://${address}`];
  const isLearner = state === 'joining';
  return create(MemberSchema, { ID: etcdId(nodeId), name, peerURLs: urls, clientURLs: urls, isLearner });
}

function unserved(instead: string): HoldfastError {
  return new HoldfastError({
    reason: 'UNIMPLEMENTED',
    message: `members are not changed by etcd's API: ${instead}. ${NOTHING}`,
    outcome: 'NOT_APPLIED',
  });
}

function refused(reason: string, text: string): EtcdError {
  return new EtcdError({ reason, message: text, outcome: 'NOT_APPLIED' }, 'FAILED_PRECONDITION', text);
}
