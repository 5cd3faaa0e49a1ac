/** `holdfast.raft.v1.BootstrapService`. */
import { create } from '@bufbuild/protobuf';
import { BootstrapService, IntroduceResponseSchema } from '@holdfast/proto/raft/v1/bootstrap';
import type { Introduction } from '../cluster/membership.ts';
import { serve, type ServedService } from './handler.ts';

/** The bootstrap service of a node; `introduction` is asked at each call. */
export function bootstrapService(introduction: () => Introduction): ServedService {
  return serve(BootstrapService, {
    async introduce() {
      const { membership, ...self } = introduction();
      const members = membership && { ...membership, members: [...membership.members] };
      return create(IntroduceResponseSchema, { ...self, nodes: [...self.nodes], membership: members });
    },
  });
}
