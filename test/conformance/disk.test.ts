import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileDisk } from '../../node/runtime/file-disk.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedDisk } from '../../node/runtime/simulated/simulated-disk.ts';
import { describeDisk } from './disk.ts';
import { realStage, simulatedStage } from './stage.ts';

describeDisk('files', async () => {
  const root = await mkdtemp(join(tmpdir(), 'holdfast-disk-'));
  const dispose = () => rm(root, { recursive: true });
  return { stage: realStage(), subject: new FileDisk(root), dispose };
});

describeDisk('simulated', () => {
  const stage = simulatedStage();
  const subject = new SimulatedDisk(stage.scheduler, new SeededRandom(1));
  return Promise.resolve({ stage, subject, dispose: () => Promise.resolve() });
});
