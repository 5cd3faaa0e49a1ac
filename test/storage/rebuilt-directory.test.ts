/** A directory that begins anew, with the power failing at each operation of the disk. */
import { expect, test } from 'vitest';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedDisk } from '../../node/runtime/simulated/simulated-disk.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { claimDirectory, newIdentity, readIdentity, type Identity } from '../../node/storage/identity.ts';
import {
  asideFolder,
  beginAnew,
  completeRebuild,
  nextIdentity,
} from '../../node/storage/rebuilt-directory.ts';

const CONTENTS = ['log', 'store'];
const CLUSTER = 'c'.repeat(32);

/** A machine whose power can fail. */
class Machine {
  readonly world = new SimulatedScheduler();
  readonly random: SeededRandom;
  process: SimulatedProcess;
  disk: SimulatedDisk;

  constructor(seed: string) {
    this.random = new SeededRandom(seed);
    this.process = new SimulatedProcess(this.world);
    this.disk = new SimulatedDisk(this.process, this.random.fork('disk'));
  }

  /** Runs to its end, or to the operation of the disk at which the power fails; returns whether it ended. */
  async run(step: (disk: SimulatedDisk) => Promise<unknown>, operations = Infinity): Promise<boolean> {
    const { disk } = this;
    let left = operations;
    const bounded = new Proxy(disk, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== 'function') return value;
        return (...given: unknown[]) =>
          left-- > 0 ? (value.apply(target, given) as unknown) : new Promise<never>(() => undefined);
      },
    });
    let isDone = false;
    step(bounded).then(
      () => (isDone = true),
      (error: unknown) => {
        throw error;
      },
    );
    await this.world.runUntilTrue(() => isDone, 1_000);
    return isDone;
  }

  losePower(): void {
    this.process.kill();
    this.process = new SimulatedProcess(this.world);
    this.disk = this.disk.crash('seeded', this.process);
  }
}

async function write(disk: SimulatedDisk, path: string, text: string): Promise<void> {
  const file = await disk.open(path, 'create');
  await file.writeDurably(0, Buffer.from(text));
  await file.close();
}

async function fill(machine: Machine): Promise<Identity> {
  let identity: Identity | undefined;
  await machine.run(async (disk) => {
    identity = await claimDirectory(disk, machine.random, 'n1', CONTENTS);
    for (const folder of CONTENTS) {
      await disk.makeDirectory(folder);
      await disk.syncDirectory('');
      for (const name of ['a', 'b']) await write(disk, `${folder}/${name}`, `${folder} ${name}`);
      await disk.syncDirectory(folder);
    }
  });
  return identity!;
}

function successor(machine: Machine, { node_id: before }: Identity): Identity {
  const fresh = newIdentity(machine.random, 'n1');
  return { ...fresh, node_id: 'f'.repeat(16), rebuilt_from: before, cluster_id: CLUSTER };
}

test('wherever the power fails, the directory is the old one or begins anew, and nothing is lost', async () => {
  let failures = 0;
  for (let operations = 0; ; operations++) {
    const machine = new Machine(`rebuilt ${operations}`);
    const old = await fill(machine);
    const next = successor(machine, old);
    const isDone = await machine.run(async (disk) => {
      await beginAnew(disk, next);
      await completeRebuild(disk, CONTENTS);
    }, operations);
    machine.losePower();
    const found: { begun?: Identity | undefined; now?: Identity | undefined } = {};
    await machine.run(async (disk) => {
      found.begun = await nextIdentity(disk);
      await completeRebuild(disk, CONTENTS);
      found.now = await readIdentity(disk);
    });
    const { disk } = machine;
    if (found.now?.node_id === old.node_id) {
      expect(isDone || found.begun !== undefined, `after ${operations} operations`).toBe(false);
      expect(await listed(machine, disk, '')).toEqual(expect.arrayContaining(CONTENTS));
      expect(await listed(machine, disk, 'log')).toEqual(['a', 'b']);
    } else {
      expect(found.now).toEqual(next);
      const aside = asideFolder(next);
      for (const folder of CONTENTS) {
        expect(await listed(machine, disk, folder)).toEqual([]);
        expect(await listed(machine, disk, `${aside}/${folder}`)).toEqual(['a', 'b']);
      }
      expect(await listed(machine, disk, aside)).toContain('identity.json');
    }
    if (isDone) break;
    failures++;
  }
  console.log(`power failed after each of ${failures} operations of the disk`);
  expect(failures).toBeGreaterThan(15);
});

async function listed(machine: Machine, disk: SimulatedDisk, folder: string): Promise<string[]> {
  let names: string[] = [];
  await machine.run(async () => {
    names = await disk.list(folder);
  });
  return names;
}
