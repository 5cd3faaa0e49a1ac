/** Which of two records counts: a total order, so that all come to the same in whatever order they hear. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compareRecords, isUp, type NodeRecord } from '../../../node/cluster/gossip/node-record.ts';
import { record } from './gossip-samples.ts';

const few = fc.integer({ min: 0, max: 2 });
const records = fc
  .record({
    member: few,
    start: few,
    incarnation: few,
    state: fc.constantFrom('alive', 'suspect', 'dead', 'left'),
  })
  .map((change) => record('a', change as Partial<NodeRecord>));

const ORDER = ['alive', 'suspect', 'dead', 'left'];
/** As words of a dictionary. */
const key = ({ member, start, incarnation, state }: NodeRecord) =>
  `${member} ${start} ${incarnation} ${ORDER.indexOf(state)}`;

test('the newer run counts, then the greater incarnation, then what is worse', () => {
  fc.assert(
    fc.property(records, records, (a, b) => {
      const expected = key(a) < key(b) ? -1 : Number(key(a) > key(b));
      expect(Math.sign(compareRecords(a, b))).toBe(expected);
    }),
  );
});

test('the greatest of some is the same in whatever order they come', () => {
  const greatest = (all: readonly NodeRecord[]) =>
    all.reduce((best, one) => (compareRecords(one, best) > 0 ? one : best));
  fc.assert(
    fc.property(fc.array(records, { minLength: 1, maxLength: 8 }), (all) => {
      expect(compareRecords(greatest(all), greatest([...all].reverse()))).toBe(0);
    }),
  );
});

test('alive and suspect nodes may answer', () => {
  expect(ORDER.filter((state) => isUp({ state: state as NodeRecord['state'] }))).toEqual([
    'alive',
    'suspect',
  ]);
});
