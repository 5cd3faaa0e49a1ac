/** `holdfast.cluster.v1.ClusterService`. */
import { create } from '@bufbuild/protobuf';
import {
  AddMemberResponseSchema,
  ClusterMemberSchema,
  ClusterService,
  GetStatusResponseSchema,
  ListMembersResponseSchema,
  RemoveMemberResponseSchema,
  ReplaceMemberResponseSchema,
  TransferLeadersResponseSchema,
  type AddMemberRequest,
  type GetStatusResponse,
} from '@holdfast/proto/cluster/v1/cluster';
import type { LeaderTransfer } from '../cluster/leader-transfer.ts';
import type { MemberChanges, NamedNode } from '../cluster/member-changes.ts';
import { memberMessage } from '../cluster/member-codec.ts';
import type { ClusterMember } from '../cluster/membership.ts';
import { serve, type ServedService } from './handler.ts';

/** What a status is made of; the node gathers it when asked. */
export type StatusSource = () => Omit<GetStatusResponse, '$typeName' | '$unknown'>;

export interface ClusterServiceOptions {
  readonly status: StatusSource;
  readonly members: () => MemberChanges;
  readonly leaders: () => LeaderTransfer;
}

/** The cluster service of a node. */
export function clusterService({ status, members, leaders }: ClusterServiceOptions): ServedService {
  return serve(ClusterService, {
    async getStatus() {
      return create(GetStatusResponseSchema, status());
    },
    async listMembers() {
      const { members: states, movingGroups } = await members().list();
      return create(ListMembersResponseSchema, {
        movingGroups,
        members: states.map(({ member, isAlive, replicas }) => {
          return { member: memberMessage(member), alive: isAlive, replicas };
        }),
      });
    },
    async addMember(_, request) {
      const member = messageOf(await members().add(nodeOf(request)));
      return create(AddMemberResponseSchema, { member });
    },
    async removeMember(_, { name, allowFewerCopies }) {
      await members().remove(name, allowFewerCopies);
      return create(RemoveMemberResponseSchema);
    },
    async replaceMember(_, request) {
      const member = messageOf(await members().replace(request.oldName, nodeOf(request)));
      return create(ReplaceMemberResponseSchema, { member });
    },
    async transferLeaders(_, { name, group, to }) {
      const transfer = { name, to, group: group === undefined ? undefined : Number(group) };
      return create(TransferLeadersResponseSchema, await leaders().run(transfer));
    },
  });
}

function nodeOf({ name, endpoints }: Pick<AddMemberRequest, 'name' | 'endpoints'>): NamedNode {
  return { name, grpc: endpoints?.grpc ?? '', http: endpoints?.http ?? '' };
}

function messageOf(member: ClusterMember) {
  return create(ClusterMemberSchema, memberMessage(member));
}
