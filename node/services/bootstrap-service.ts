/** `holdfast.raft.v1.BootstrapService`. */
import { create } from '@bufbuild/protobuf';
import {
  BootstrapService,
  IntroduceResponseSchema,
  RequestRebuildResponseSchema,
} from '@holdfast/proto/raft/v1/bootstrap';
import { tableMessage } from '../cluster/member-codec.ts';
import type { Introduction, Membership } from '../cluster/membership.ts';
import type { RebuildGrants } from '../cluster/rebuild-grants.ts';
import { serve, type ServedService } from './handler.ts';

export interface BootstrapServiceOptions {
  /** Asked at each call. */
  readonly introduction: () => Introduction;
  readonly rebuilds: () => RebuildGrants;
}

/** The bootstrap service of a node. */
export function bootstrapService({ introduction, rebuilds }: BootstrapServiceOptions): ServedService {
  return serve(BootstrapService, {
    async introduce() {
      const { membership, nodes, grpc, http, ...self } = introduction();
      return create(IntroduceResponseSchema, {
        ...self,
        nodes: [...nodes],
        endpoints: { grpc, http },
        ...(membership && { membership: membershipMessage(membership) }),
      });
    },
    async requestRebuild(_, { clusterId, nodeId, newNodeId }) {
      const membership = await rebuilds().grant({ clusterId, nodeId, newNodeId });
      return create(RequestRebuildResponseSchema, { membership: membershipMessage(membership) });
    },
  });
}

function membershipMessage(membership: Membership) {
  const { clusterId, founders } = membership;
  return { clusterId, founders: [...founders], table: tableMessage(membership) };
}
