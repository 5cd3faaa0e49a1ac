/** `holdfast.id.v1.IdService`. */
import { create } from '@bufbuild/protobuf';
import { describeId } from '@holdfast/client/ids/id-layout';
import {
  DescribeResponseSchema,
  IdService,
  ListSequencesResponseSchema,
  NextInSequenceResponseSchema,
  NextResponseSchema,
} from '@holdfast/proto/id/v1/id';
import type { Sequences } from '../coordination/sequences.ts';
import type { Ids } from '../ids/ids.ts';
import { serve, type ServedService } from './handler.ts';
import { idCount, sequenceCount, sequenceName, sequencesAfter } from './id-messages.ts';
import { listLimit, sequenceIdentity } from './session-messages.ts';

/** Sequences of one answer. */
const LISTED = 1_000;

export interface IdServiceOptions {
  readonly ids: Ids;
  readonly sequences: Sequences;
}

/** The service of IDs and sequences over a node's engine. */
export function idService({ ids, sequences }: IdServiceOptions): ServedService {
  return serve(IdService, {
    async next({ deadlineMs }, request) {
      const { runs, worker } = await ids.next(idCount(request.count), deadlineMs);
      return create(NextResponseSchema, { blocks: [...runs], worker });
    },

    async describe(_, request) {
      const { timeMs, worker, sequence } = describeId(request.id);
      return create(DescribeResponseSchema, { timeMs: BigInt(timeMs), worker, sequence });
    },

    async nextInSequence({ deadlineMs, isRouted, grant }, request) {
      const command = { name: sequenceName(request.name), count: sequenceCount(request.count) };
      const identity = sequenceIdentity(request.sequence);
      const first = await sequences.next(command, { deadlineMs, isRouted, grant }, identity);
      return create(NextInSequenceResponseSchema, { first: BigInt(first), count: command.count });
    },

    async listSequences({ deadlineMs }, request) {
      const limit = listLimit(request.limit, LISTED);
      const after = sequencesAfter(request.after);
      const { sequences: listed, more } = await sequences.list(after, limit, deadlineMs);
      return create(ListSequencesResponseSchema, {
        sequences: listed.map(({ name, last }) => ({ name, last: BigInt(last) })),
        more,
      });
    },
  });
}
