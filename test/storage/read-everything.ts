/**
 * Opens a data directory and reads keys 0 to COUNT, in a process of its own: LevelDB is
 * native code, and what damage makes it do must not end the tests with it. Prints one word.
 */
import { openLevelEngine } from './level-engine.ts';

const [directory, count] = process.argv.slice(2) as [string, string];
const failures: string[] = [];

async function read(): Promise<'refused' | 'errors' | 'untouched' | 'wrong'> {
  const engine = await openLevelEngine(directory, failures).catch((error: unknown) => error as Error);
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
