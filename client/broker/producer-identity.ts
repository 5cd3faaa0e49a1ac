import { create } from '@bufbuild/protobuf';
import { BrokerService, InitProducerRequestSchema } from '@holdfast/proto/broker/v1/broker';
import { callCoordinator } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';

/** By what partitions know the batches of a producer. */
export interface ProducerIdentity {
  /** Greater than 0. */
  readonly id: bigint;
  readonly epoch: number;
}

/** A new identity, or that of a name with a greater epoch. Errors: those of a call. */
export async function initProducer(core: ClientCore, name: string): Promise<ProducerIdentity> {
  const request = create(InitProducerRequestSchema, { name });
  // A repeat takes another id, or a still greater epoch: nobody uses the one that got lost.
  const more = { isWrite: true, isRepeatable: true, isClosing: true };
  const method = BrokerService.method.initProducer;
  const { producerId, epoch } = await callCoordinator(core, method, request, {}, more);
  return { id: producerId, epoch };
}
