/** An engine over a real LevelDB in a directory of the test's own. */
import { join } from 'node:path';
import { SystemClock } from '../../client/system-clock.ts';
import { SystemRandom } from '../../client/system-random.ts';
import { openEngine, type Engine } from '../../node/main/engine.ts';
import { FileDisk } from '../../node/runtime/file-disk.ts';
import { LevelStore } from '../../node/runtime/level-store.ts';
import { verifyLevelFiles, verifyNextTable } from '../../node/storage/level-verifier.ts';

/** Opens what is in `directory`; failures of the storage while it serves are added to `failures`. */
export function openLevelEngine(directory: string, failures: string[]): Promise<Engine> {
  const disk = new FileDisk(directory);
  return openEngine({
    disk,
    verifyStore: () => verifyLevelFiles(disk, 'store'),
    verifyNextFile: (after) => verifyNextTable(disk, 'store', after),
    openStore: () => LevelStore.open(join(directory, 'store')),
    clock: new SystemClock(),
    random: new SystemRandom(),
    nodeName: 'n1',
    segmentBytes: 1024 * 1024,
    minFreeBytes: 0,
    queueBytes: 64 * 1024 * 1024,
    onFailure: (cause) => failures.push(cause),
  });
}
