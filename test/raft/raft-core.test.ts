import { expect, test } from 'vitest';
import { NO_CONFIGURATION } from '../../node/raft/core/configuration.ts';
import { RaftCore } from '../../node/raft/core/raft-core.ts';
import { EntryCache } from '../../node/raft/entry-cache.ts';

function follower(term: number): RaftCore {
  const configuration = { ...NO_CONFIGURATION, voters: [1, 2, 3] };
  return new RaftCore({
    id: 1,
    hardState: { term, vote: 0 },
    log: { base: { index: 0, term: 0, stampMs: 0, configuration }, applied: 0, entries: [] },
    source: new EntryCache(0),
    random: () => 0.5,
  });
}

test('a term that no election can have led to is not taken over', () => {
  const core = follower(7);
  const leap = 2 ** 32;
  core.step({ type: 'heartbeat', from: 2, to: 1, term: 8 + leap, committed: 0, round: 0 });
  expect([core.term, core.leader]).toEqual([7, 0]);
  core.step({ type: 'heartbeat', from: 2, to: 1, term: 7 + leap, committed: 0, round: 0 });
  expect([core.term, core.leader]).toEqual([7 + leap, 2]);
});
