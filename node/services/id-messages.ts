/** Messages of IDs and sequences to what features take, checked. */
import { MAX_IDS } from '@holdfast/client/ids/id-layout';
import { MAX_SEQUENCE_COUNT, SEQUENCE_NAME } from '../coordination/sequence-part.ts';
import { refuse } from '../kv/limits.ts';

const NOTHING = 'Nothing was given out.';

/** How many IDs. Error: COUNT_OUT_OF_RANGE. */
export function idCount(count: number): number {
  if (count >= 1 && count <= MAX_IDS) return count;
  const message = `count is ${count}, one call gives 1 to ${MAX_IDS} IDs. ${NOTHING}`;
  throw refuse('COUNT_OUT_OF_RANGE', 'count', message, String(count), `1..${MAX_IDS}`);
}

/** How many numbers of a sequence; 0: one. Error: COUNT_OUT_OF_RANGE. */
export function sequenceCount(count: number): number {
  if (count === 0) return 1;
  if (count <= MAX_SEQUENCE_COUNT) return count;
  const message = `count is ${count}, one call gives 1 to ${MAX_SEQUENCE_COUNT} numbers. ${NOTHING}`;
  throw refuse('COUNT_OUT_OF_RANGE', 'count', message, String(count), `1..${MAX_SEQUENCE_COUNT}`);
}

/** Error: SEQUENCE_NAME_INVALID. */
export function sequenceName(name: string): string {
  if (SEQUENCE_NAME.test(name)) return name;
  const shown = name.slice(0, 80);
  const message = `the name of the sequence is ${JSON.stringify(shown)}, names are [a-z0-9._-]{1,64}. ${NOTHING}`;
  throw refuse('SEQUENCE_NAME_INVALID', 'name', message, shown, '[a-z0-9._-]{1,64}');
}

/** Where a list goes on. Error: SEQUENCE_NAME_INVALID. */
export function sequencesAfter(after: string): string {
  if (after === '' || SEQUENCE_NAME.test(after)) return after;
  const shown = after.slice(0, 80);
  const message = `after is ${JSON.stringify(shown)}, names are [a-z0-9._-]{1,64}. Nothing was read.`;
  throw refuse('SEQUENCE_NAME_INVALID', 'after', message, shown, '[a-z0-9._-]{1,64}');
}
