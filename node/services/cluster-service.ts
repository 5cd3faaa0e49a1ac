/** `holdfast.cluster.v1.ClusterService`. */
import { create } from '@bufbuild/protobuf';
import {
  ClusterService,
  GetStatusResponseSchema,
  type GetStatusResponse,
} from '@holdfast/proto/cluster/v1/cluster';
import { serve, type ServedService } from './handler.ts';

/** What a status is made of; the node gathers it when asked. */
export type StatusSource = () => Omit<GetStatusResponse, '$typeName' | '$unknown'>;

/** The cluster service of a node. */
export function clusterService(status: StatusSource): ServedService {
  return serve(ClusterService, {
    async getStatus() {
      return create(GetStatusResponseSchema, status());
    },
  });
}
