/** `holdfast.cluster.v1.ClusterService`. */
import { create } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
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
import type { SeenMembers } from '../cluster/seen-members.ts';
import type { ClusterMember } from '../cluster/membership.ts';
import { serve, type ServedService } from './handler.ts';
import { memberStatus, watchMembers } from './member-watch.ts';

/** What a status is made of; the node gathers it when asked. */
export type StatusSource = () => Omit<GetStatusResponse, '$typeName' | '$unknown'>;

export interface ClusterServiceOptions {
  readonly status: StatusSource;
  readonly members: () => MemberChanges;
  readonly leaders: () => LeaderTransfer;
  readonly seen: () => SeenMembers;
  readonly clock: Clock;
  /** Aborted when the node is to stop. */
  readonly stopping: AbortSignal;
}

/** The cluster service of a node. */
export function clusterService(options: ClusterServiceOptions): ServedService {
  const { status, members, leaders, seen } = options;
  return serve(ClusterService, {
    async getStatus() {
      return create(GetStatusResponseSchema, status());
    },
    async listMembers(_, { local }) {
      if (local) {
        const list = seen().list();
        return create(ListMembersResponseSchema, {
          ...list,
          members: list.members.map((one) => memberStatus(one)),
        });
      }
      const { members: states, movingGroups } = await members().list();
      return create(ListMembersResponseSchema, {
        movingGroups,
        members: states.map(({ member, isAlive, replicas }) =>
          memberStatus({ ...seen().see(member), replicas }, isAlive),
        ),
      });
    },
    watchMembers(context) {
      return watchMembers({ ...options, seen: seen() }, context);
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
