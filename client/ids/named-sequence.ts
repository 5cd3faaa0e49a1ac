import { create } from '@bufbuild/protobuf';
import { IdService, NextInSequenceRequestSchema } from '@holdfast/proto/id/v1/id';
import { callCoordinator, writeToCoordinator } from '../coordination-call.ts';
import type { ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import type { CallOptions } from '../keyspace-options.ts';
import { checkCount } from './ids.ts';

const MAX_COUNT = 1_000_000;
const NAME = /^[a-z0-9._-]{1,64}$/;

/** A sequence and the last number that was taken. */
export interface SequenceSummary {
  readonly name: string;
  readonly last: bigint;
}

/** Numbers that only grow, over the whole cluster, from 1 on. */
export class NamedSequence {
  readonly name: string;
  readonly #core: ClientCore;

  /** @internal Error: SEQUENCE_NAME_INVALID. */
  constructor(core: ClientCore, name: string) {
    if (!NAME.test(name)) throw invalidName(name);
    this.#core = core;
    this.name = name;
  }

  /**
   * Takes the next `count` numbers, 1 to 1,000,000, and resolves with the first; the others
   * follow it. Greater than all that were answered before. Numbers of a call that ended in an
   * error with outcome UNKNOWN may be left out. Errors: COUNT_OUT_OF_RANGE, SEQUENCE_EXHAUSTED.
   */
  async next(count = 1, options: CallOptions = {}): Promise<bigint> {
    checkCount(count, MAX_COUNT);
    const request = create(NextInSequenceRequestSchema, { name: this.name, count });
    const { first } = await writeToCoordinator(this.#core, IdService.method.nextInSequence, request, options);
    return first;
  }
}

/** All sequences, by name. */
export async function listSequences(core: ClientCore, options: CallOptions = {}): Promise<SequenceSummary[]> {
  const sequences: SequenceSummary[] = [];
  for (;;) {
    const request = { after: sequences.at(-1)?.name ?? '' };
    const answer = await callCoordinator(core, IdService.method.listSequences, request, options);
    for (const { name, last } of answer.sequences) sequences.push({ name, last });
    if (!answer.more || answer.sequences.length === 0) return sequences;
  }
}

function invalidName(name: string): HoldfastError {
  const shown = String(name).slice(0, 80);
  return new HoldfastError({
    reason: 'SEQUENCE_NAME_INVALID',
    message: `the name of the sequence is ${JSON.stringify(shown)}, names are [a-z0-9._-]{1,64}. Nothing was given out.`,
    outcome: 'NOT_APPLIED',
    field: 'name',
    actual: shown,
    limit: '[a-z0-9._-]{1,64}',
  });
}
