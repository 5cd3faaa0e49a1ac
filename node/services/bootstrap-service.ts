/** `holdfast.raft.v1.BootstrapService`. */
import { create } from '@bufbuild/protobuf';
import { BootstrapService, IntroduceResponseSchema } from '@holdfast/proto/raft/v1/bootstrap';
import { tableMessage } from '../cluster/member-codec.ts';
import type { Introduction, Membership } from '../cluster/membership.ts';
import { serve, type ServedService } from './handler.ts';

/** The bootstrap service of a node; `introduction` is asked at each call. */
export function bootstrapService(introduction: () => Introduction): ServedService {
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
  });
}

function membershipMessage(membership: Membership) {
  const { clusterId, founders } = membership;
  return { clusterId, founders: [...founders], table: tableMessage(membership) };
}
