/** What a node does that is out of touch with group 0. */
import { HoldfastError } from '@holdfast/client/error';
import { expect, test } from 'vitest';
import { RemovalWatch, type RemovalWatchOptions } from '../../node/cluster/removal-watch.ts';
import { FakeClock } from '../client/fake-ports.ts';

interface Situation {
  readonly state: 'active' | 'leaving';
  /** It is in group 0, and hears who leads it. */
  readonly isInTouch: boolean;
}

async function restsOf({ state, isInTouch }: Situation): Promise<number[]> {
  const clock = new FakeClock();
  const rests: number[] = [];
  const configuration = { voters: [1, 2], outgoing: [], learners: [], next: [] };
  const member = (id: number) => ({ id, name: `n${id}`, state: id === 1 ? state : 'active' });
  const watch = new RemovalWatch({
    self: 'n1',
    host: {
      self: 1,
      failure: undefined,
      replica: () => (isInTouch ? { core: { configuration } } : undefined),
      leaderOf: () => (isInTouch ? { id: 2 } : undefined),
      leaderships: { rest: (forMs: number) => Promise.resolve(rests.push(forMs)) },
    },
    members: {
      current: { clusterId: 'c', version: 3, members: [member(1), member(2)] },
      learn: () => undefined,
    },
    transport: { unary: () => Promise.reject(new HoldfastError({ reason: 'UNAVAILABLE', message: 'no' })) },
    addressOf: ({ name }: { name: string }) => name,
    clock,
    onRemoved: () => expect.unreachable(),
  } as unknown as RemovalWatchOptions);
  await clock.pass(6_000);
  watch.stop();
  return rests;
}

test('one that was replaced and is out of group 0 leaves what it leads to others, again and again', async () => {
  const rests = await restsOf({ state: 'leaving', isInTouch: false });
  expect(rests.length).toBeGreaterThanOrEqual(2);
  expect(new Set(rests)).toEqual(new Set([5_000]));
});

test('one that is to stay, or is in touch, goes on leading', async () => {
  expect(await restsOf({ state: 'active', isInTouch: false })).toEqual([]);
  expect(await restsOf({ state: 'leaving', isInTouch: true })).toEqual([]);
});
