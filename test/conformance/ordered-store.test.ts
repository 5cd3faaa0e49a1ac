import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { LevelStore } from '../../node/runtime/level-store.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedOrderedStore, SimulatedStoreMedium } from '../../node/runtime/simulated/simulated-store.ts';
import { describeOrderedStore } from './ordered-store.ts';
import { errorCode, realStage, simulatedStage } from './stage.ts';

const newDirectory = () => mkdtemp(join(tmpdir(), 'holdfast-store-'));

describeOrderedStore('LevelDB', async () => {
  const directory = await newDirectory();
  const reopen = () => LevelStore.open(directory);
  const subject = { store: await reopen(), reopen };
  return { stage: realStage(), subject, dispose: () => rm(directory, { recursive: true }) };
});

describeOrderedStore('simulated', () => {
  const stage = simulatedStage();
  const medium = new SimulatedStoreMedium();
  const open = () => new SimulatedOrderedStore(stage.scheduler, new SeededRandom(1), medium);
  const subject = { store: open(), reopen: () => Promise.resolve(open()) };
  return Promise.resolve({ stage, subject, dispose: () => Promise.resolve() });
});

it('LevelDB: refuses a directory that is open already, by code', async () => {
  const directory = await newDirectory();
  const store = await LevelStore.open(directory);
  expect(await errorCode(LevelStore.open(directory))).toBe('LEVEL_LOCKED');
  await store.close();
  await rm(directory, { recursive: true });
});
