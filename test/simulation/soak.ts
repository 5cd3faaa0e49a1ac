/**
 * `npm run soak -- --minutes M --kind sim [--seed-from X] [--workers W] [--nodes N]` plays
 * fresh seeds until the time is up. Prints each seed that failed with the command that plays
 * it again, and what all of them did. Ends with 1 when one failed.
 *
 * `--kind process [--seed S] [--nodes 3|5]` instead runs real nodes under faults drawn from
 * one seed (test/process/process-soak.ts), and `--kind locks` has contenders for locks on them
 * (test/process/lock-soak.ts).
 */
import { fork } from 'node:child_process';
import { parseArgs } from 'node:util';
import { play, replayCommand } from './world/play.ts';
import { ReportSum, type WorldReport } from './world/report.ts';

interface Work {
  readonly firstSeed: number;
  readonly step: number;
  readonly endMs: number;
  readonly nodes: number | undefined;
}

/**
 * Then the next process goes on. The signals of calls that died with their node are never
 * released by Node.js, and hold their worlds: some megabytes a seed.
 */
const SEEDS_OF_A_WORKER = 200;

/** What a worker says after each seed. */
type Message = { readonly seed: number } & ({ readonly report: WorldReport } | { readonly failure: string });

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    kind: { type: 'string', default: 'sim' },
    'seed-from': { type: 'string' },
    seed: { type: 'string' },
    workers: { type: 'string', default: '1' },
    nodes: { type: 'string' },
    worker: { type: 'string' },
  },
});

if (values.worker !== undefined) await playSeeds(JSON.parse(values.worker) as Work);
else if (values.kind === 'sim') await soak();
else if (values.kind === 'process') await soakNodes();
else if (values.kind === 'locks') await soakLockHolders();
else fail(`--kind is ${values.kind}, allowed are sim, process and locks`);

async function soak(): Promise<void> {
  const workers = Number(values.workers);
  const startedMs = Date.now();
  const seedFrom = values['seed-from'] === undefined ? startedMs : Number(values['seed-from']);
  const endMs = startedMs + Number(values.minutes) * 60_000;
  const nodes = values.nodes === undefined ? undefined : Number(values.nodes);
  if (![workers, seedFrom, endMs].every(Number.isFinite))
    fail('--minutes, --seed-from and --workers are numbers');
  console.log(`seeds from ${seedFrom} on, ${workers} at a time`);
  const sum = new ReportSum();
  const failed: number[] = [];
  const take = (message: Message) => {
    if ('report' in message) return sum.add(message.report);
    failed.push(message.seed);
    console.log(`seed ${message.seed} failed: ${message.failure}`);
    console.log(`replay: ${replayCommand(String(message.seed), { nodes })}`);
  };
  const playFrom = async (seed: number): Promise<void> => {
    for (let firstSeed = seed; Date.now() < endMs;)
      firstSeed = await runWorker({ firstSeed, step: workers, endMs, nodes }, take);
  };
  await Promise.all(Array.from({ length: workers }, (_, at) => playFrom(seedFrom + at)));
  const hours = (Date.now() - startedMs) / 3_600_000;
  console.log(sum.text());
  console.log(`${Math.round((sum.runs + failed.length) / hours)} seeds an hour, ${failed.length} failed`);
  if (failed.length > 0) process.exitCode = 1;
}

async function soakNodes(): Promise<void> {
  const minutes = Number(values.minutes);
  const seed = Number(values.seed ?? Date.now() % 1_000_000);
  const nodes = Number(values.nodes ?? 3);
  if (!(minutes > 0) || !Number.isSafeInteger(seed)) fail('--minutes is above 0, --seed is a whole number');
  if (nodes !== 3 && nodes !== 5) fail(`--nodes is ${values.nodes}, allowed are 3 and 5`);
  const { soakProcesses } = await import('../process/process-soak.ts');
  console.log(`${nodes} nodes for ${minutes} minutes, seed ${seed}`);
  try {
    await soakProcesses({ minutes, seed, nodes, say: (line) => console.log(line) });
  } catch (error) {
    console.log(`seed ${seed} failed: ${(error as Error).stack}`);
    console.log(
      `replay: npm run soak -- --kind process --minutes ${minutes} --seed ${seed} --nodes ${nodes}`,
    );
    process.exitCode = 1;
  }
}

async function soakLockHolders(): Promise<void> {
  const minutes = Number(values.minutes);
  const seed = Number(values.seed ?? Date.now() % 1_000_000);
  if (!(minutes > 0) || !Number.isSafeInteger(seed)) fail('--minutes is above 0, --seed is a whole number');
  const { soakLocks } = await import('../process/lock-soak.ts');
  console.log(`contenders for locks for ${minutes} minutes, seed ${seed}`);
  try {
    await soakLocks({ minutes, seed, say: (line) => console.log(line) });
  } catch (error) {
    console.log(`seed ${seed} failed: ${(error as Error).stack}`);
    console.log(`replay: npm run soak -- --kind locks --minutes ${minutes} --seed ${seed}`);
    process.exitCode = 1;
  }
}

/** Resolves to the next seed when it has ended. One that dies takes its seed with it: that is a failure, too. */
function runWorker(work: Work, take: (message: Message) => void): Promise<number> {
  const child = fork(import.meta.filename, ['--worker', JSON.stringify(work)], {
    execArgv: process.execArgv,
  });
  let next = work.firstSeed;
  child.on('message', (message) => {
    take(message as Message);
    next = (message as Message).seed + work.step;
  });
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      if (code !== 0) take({ seed: next, failure: `its process ended with ${code ?? signal}` });
      resolve(code === 0 ? next : next + work.step);
    });
  });
}

async function playSeeds({ firstSeed, step, endMs, nodes }: Work): Promise<void> {
  const lastSeed = firstSeed + (SEEDS_OF_A_WORKER - 1) * step;
  for (let seed = firstSeed; seed <= lastSeed && Date.now() < endMs; seed += step) {
    const played = await play(String(seed), { nodes });
    const message: Message =
      'report' in played
        ? { seed, report: played.report }
        : { seed, failure: `at ${played.atMs.toFixed(3)} ms: ${played.error.stack}` };
    await new Promise((resolve) => process.send?.(message, resolve));
  }
  process.disconnect?.();
}

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}
