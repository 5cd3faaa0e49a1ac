/**
 * Deletes ranges of any number of keys. One transaction looks at a bounded number of keys, since
 * it holds all others up: a range of more is deleted in parts, from the first key to the last,
 * each at a revision of its own. What is put into the range meanwhile may stay or go.
 */
import { HoldfastError } from '@holdfast/client/error';
import {
  ConfigSort,
  keySpan,
  type DeleteOperation,
  type KeySpan,
  type ListOrder,
} from '../../coordination/config-command.ts';
import type { DeleteResult } from '../../coordination/config-outcome.ts';
import type { Configuration, TransactTerms } from '../../coordination/configuration.ts';
import { binaryString } from '../../storage/row-key.ts';
import type { CallContext } from '../handler.ts';

/** Keys of one part. */
const PART_KEYS = 5_000;

export interface Deleted {
  readonly result: DeleteResult;
  /** Of the last change; of the tree, if there was nothing to delete. */
  readonly revision: number;
}

type Terms = Pick<CallContext, 'deadlineMs' | 'isRouted' | 'grant' | 'signal'>;

/** Errors: HoldfastError; ANSWER_TOO_LARGE or RANGE_TOO_LARGE only where what there was is to be answered. */
export async function deleteKeys(
  configuration: Configuration,
  operation: DeleteOperation,
  terms: Terms,
): Promise<Deleted> {
  try {
    return await deleteAtOnce(configuration, operation, terms);
  } catch (error) {
    if (operation.returnPrevious || !isTooMany(error)) throw error;
  }
  return deleteInParts(configuration, operation, terms);
}

async function deleteInParts(
  configuration: Configuration,
  operation: DeleteOperation,
  terms: Terms,
): Promise<Deleted> {
  await configuration.awaitRead(terms);
  let deleted = 0;
  let limit = PART_KEYS;
  let { span } = operation;
  let { revision } = configuration.figures;
  for (;;) {
    const { entries } = await configuration.reads.list(keysOf(span, limit), 0, terms.signal);
    const keys = entries.map(({ key }) => binaryString(key));
    const [first, last] = [keys[0], keys.at(-1)];
    if (first === undefined || last === undefined)
      return { result: { case: 'delete', deleted, previous: [] }, revision };
    const part = { ...operation, span: { start: first, end: keySpan(last).end } };
    try {
      const done = await deleteAtOnce(configuration, part, terms);
      deleted += done.result.deleted;
      ({ revision } = done);
      span = { start: part.span.end!, end: span.end };
    } catch (error) {
      // Between the keys there may be many that are deleted, and not forgotten.
      if (!isTooMany(error) || limit === 1) throw asPartly(error, deleted);
      limit = Math.ceil(limit / 4);
    }
  }
}

async function deleteAtOnce(
  configuration: Configuration,
  operation: DeleteOperation,
  { deadlineMs, isRouted, grant }: Terms,
): Promise<Deleted> {
  const transaction = { comparisons: [], thenOperations: [operation], elseOperations: [] };
  const terms: TransactTerms = { deadlineMs, isRouted, grant, grows: false, identity: undefined };
  const { results, revision } = await configuration.transact(transaction, terms);
  return { result: results[0] as DeleteResult, revision };
}

function keysOf(span: KeySpan, limit: number): ListOrder {
  return { span, limit, keysOnly: true, countOnly: false, sortBy: ConfigSort.key, isDescending: false };
}

function isTooMany(error: unknown): boolean {
  return error instanceof HoldfastError && error.reason === 'RANGE_TOO_LARGE';
}

/** What was deleted by then is gone, whatever became of this part. */
function asPartly(error: unknown, deleted: number): unknown {
  return error instanceof HoldfastError && deleted > 0 ? error.withOutcome('UNKNOWN') : error;
}
