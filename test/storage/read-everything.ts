/**
 * Opens a data directory and reads keys 0 to COUNT, in a process of its own: LevelDB is
 * native code, and what damage makes it do must not end the tests with it. Prints one word.
 */
import { join } from 'node:path';
import { SystemClock } from '../../client/system-clock.ts';
import { SystemRandom } from '../../client/system-random.ts';
import { openEngine } from '../../node/main/engine.ts';
import { FileDisk } from '../../node/runtime/file-disk.ts';
import { LevelStore } from '../../node/runtime/level-store.ts';
import { verifyLevelFiles, verifyNextTable } from '../../node/storage/level-verifier.ts';

const [directory, count] = process.argv.slice(2) as [string, string];
const disk = new FileDisk(directory);
const failures: string[] = [];

async function read(): Promise<'refused' | 'errors' | 'untouched' | 'wrong'> {
  const engine = await openEngine({
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
  }).catch((error: unknown) => error as Error);
  if (engine instanceof Error) return engine.name === 'DataDamaged' ? 'refused' : 'wrong';
  const keyspace = engine.keyspaces.get('default');
  let errors = 0;
  for (let i = 0; i < Number(count); i++) {
    try {
      const found = await engine.kv.get(keyspace, Buffer.from(`key/${i}`));
      if (found === undefined || Buffer.from(found.value).toString() !== `value ${i} `.repeat(40))
        return 'wrong';
    } catch (error) {
      if ((error as { reason?: string }).reason !== 'STORAGE_DAMAGED') return 'wrong';
      errors++;
    }
  }
  if (errors > 0 !== (failures[0] === 'storage damaged')) return 'wrong';
  return errors > 0 ? 'errors' : 'untouched';
}

console.log(await read());
process.exit(0);
