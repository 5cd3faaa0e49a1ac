/** What the leader of group 0 does by itself, over a group that only counts. */
import { expect, test } from 'vitest';
import type { ConfigPurge } from '../../node/coordination/config-command.ts';
import { CoordinationKind } from '../../node/coordination/coordination-command.ts';
import { CoordinationUpkeep } from '../../node/coordination/coordination-upkeep.ts';
import type { Coordination } from '../../node/coordination/coordination.ts';
import type { Command } from '../../node/raft/entry.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';

const COMMIT_MS = 5;
const SLICE_ROWS = 500;

/** A leader's coordination whose history is so many changes long, all of which were replaced. */
function begin(revisions: number, proposals: { failsAfter?: number } = {}) {
  const world = new SimulatedScheduler();
  const clock = new SimulatedClock(new SimulatedProcess(world));
  const state = { revision: revisions, compactRevision: 0, purged: 0, slices: 0, term: 1 };
  const proposed = async ({ kind }: Command) => {
    await new Promise<void>((resolve) => world.after(COMMIT_MS, resolve));
    if (kind === CoordinationKind.configCompact) state.compactRevision = state.revision - 1_000;
    if (kind !== CoordinationKind.configPurge) return;
    if (state.slices === proposals.failsAfter) throw new Error('nobody leads');
    state.slices++;
    state.purged = Math.min(state.purged + SLICE_ROWS, state.compactRevision);
  };
  const toPurge = async (): Promise<ConfigPurge | undefined> => {
    if (state.purged >= state.compactRevision) return undefined;
    const count = Math.min(SLICE_ROWS, state.compactRevision - state.purged);
    const position = (revision: number) => ({ revision, number: 0 });
    const replaced = Array.from({ length: count }, (_, at) => position(state.purged + at));
    const to = position(state.purged + count);
    return { after: position(state.purged), to, replaced, deletes: [], bytes: count };
  };
  const coordination = {
    get leadingTerm() {
      return state.term;
    },
    machine: {
      get revision() {
        return state.revision;
      },
      config: {
        get compactRevision() {
          return state.compactRevision;
        },
        history: { toPurge },
      },
      clients: { silent: async () => ({ clients: [], next: undefined }) },
    },
    propose: proposed,
  } as unknown as Coordination;
  const upkeep = new CoordinationUpkeep(coordination, clock, { ageMs: 0, revisions: 1_000 });
  return { world, state, upkeep };
}

test('history is removed as fast as it comes, however much there is', async () => {
  const { world, state, upkeep } = begin(101_000);
  await world.runFor(5_000);
  expect(state.compactRevision).toBe(100_000);
  expect(upkeep.counts).toMatchObject({ compactions: 1, purged: 100_000 });
  expect(state.slices).toBe(200);
});

test('of the time of removal half is left to everything else', async () => {
  const { world, state } = begin(101_000);
  await world.runFor(1_000);
  const before = state.slices;
  await world.runFor(500);
  expect(state.slices - before).toBeGreaterThan(40);
  expect(state.slices - before).toBeLessThanOrEqual(500 / (2 * COMMIT_MS));
});

test('what could not be removed is removed by a later round', async () => {
  const failing: { failsAfter?: number } = { failsAfter: 3 };
  const { world, state } = begin(21_000, failing);
  await world.runFor(1_500);
  expect(state.slices).toBe(3);
  delete failing.failsAfter;
  await world.runFor(2_500);
  expect(state.purged).toBe(20_000);
});

test('nothing is removed after the node was told to stop', async () => {
  const { world, state, upkeep } = begin(101_000);
  await world.runFor(1_200);
  await world.settle(upkeep.stop(), 1_000);
  const { slices } = state;
  expect(slices).toBeGreaterThan(0);
  await world.runFor(5_000);
  expect(state.slices).toBe(slices);
});
