/**
 * Copies of partitions that the replica on this node cannot make, or that has none here: asks
 * another node, and one after the other until one begins. A copy that breaks later is given
 * up: what another node would go on with is of another moment.
 */
import { create } from '@bufbuild/protobuf';
import { sleep, type Clock } from '@holdfast/client/clock';
import type { HoldfastError } from '@holdfast/client/error';
import type { Transport } from '@holdfast/client/transport';
import {
  BackupService,
  SavePartitionRequestSchema,
  type SavePartitionRequest,
  type SavePartitionResponse,
} from '@holdfast/proto/cluster/v1/backup';
import { proposalError } from '../raft/propose.ts';
import type { GroupPlace, GroupRoutes } from './group-routes.ts';

const POLL_MS = 50;

export interface RemoteSavesOptions {
  readonly clock: Clock;
  readonly transport: Transport;
  readonly routes: GroupRoutes;
}

export class RemoteSaves {
  readonly #options: RemoteSavesOptions;

  constructor(options: RemoteSavesOptions) {
    this.#options = options;
  }

  /** Yields what another node copies. Errors: NOT_LEADER, those of the asked node. */
  async *save(
    place: GroupPlace,
    request: SavePartitionRequest,
    deadlineMs: number,
    signal: AbortSignal,
  ): AsyncGenerator<SavePartitionResponse> {
    const { clock, transport, routes } = this.#options;
    const asked = create(SavePartitionRequestSchema, { ...request, here: true });
    for (let last: HoldfastError | undefined; ;) {
      const timeoutMs = deadlineMs - clock.monotonicMs();
      if (timeoutMs <= POLL_MS || place.isGone || signal.aborted) throw last ?? unanswered(place);
      const target = routes.next(place);
      let hasBegun = false;
      try {
        if (target === undefined) throw unanswered(place);
        const { address } = target.member;
        const method = BackupService.method.savePartition;
        for await (const response of transport.serverStream(address, method, asked, { timeoutMs, signal })) {
          hasBegun = true;
          yield response;
        }
        return;
      } catch (error) {
        last = error as HoldfastError;
        if (hasBegun || last.code !== 'UNAVAILABLE') throw last;
        if (target !== undefined && last.reason !== 'NOT_LEADER') routes.failed(target.member);
        else routes.refused(place, last.leader);
      }
      await sleep(clock, POLL_MS, signal).catch(() => undefined);
    }
  }
}

function unanswered(place: GroupPlace): HoldfastError {
  const cause = place.isGone ? 'group gone' : 'not leader';
  return proposalError({ cause, outcome: 'NOT_APPLIED' }).withOutcome(undefined);
}
