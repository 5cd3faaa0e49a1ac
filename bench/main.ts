/** `npm run -s bench -- WORKLOAD`: Holdfast beside its peers, from one Node.js process. */
import { availableParallelism } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { catchUp, type CatchUpOptions } from './catch-up.ts';
import { growth, AXES, type GrowthOptions } from './growth.ts';
import { endToEnd, readBacklog } from './messages.ts';
import { startProgress } from './progress.ts';
import { comparisons, medianOf, type Measured } from './report.ts';
import { SystemMissing, type Driver, type System, type SystemOptions } from './system.ts';
import { EtcdSystem } from './systems/etcd.ts';
import { HoldfastSystem } from './systems/holdfast.ts';
import { LevelSystem } from './systems/level.ts';
import { NatsSystem } from './systems/nats.ts';
import { RedisSystem } from './systems/redis.ts';
import { leases, type LeasesOptions } from './leases.ts';
import { topicGrowth, type TopicGrowthOptions } from './topic-growth.ts';
import { Trace } from './trace.ts';
import { watchers, type WatchersOptions } from './watchers.ts';
import { WORKLOADS, load, run, type Workload } from './workload.ts';

interface Options {
  systems: string[];
  nodes: number;
  clients: number;
  seconds: number;
  repeat: number;
  valueBytes: number;
  keys: number;
  json: boolean;
  trace: string | undefined;
}

/** A system that runs, in one of its client's modes. */
interface Contender {
  readonly system: System;
  readonly driver: Driver;
}

const SYSTEMS: Readonly<Record<string, (options: SystemOptions) => System[]>> = {
  holdfast: (options) => [new HoldfastSystem(options)],
  'holdfast-etcd3': (options) => [new HoldfastSystem(options, true)],
  redis: (options) => [new RedisSystem(options, false), new RedisSystem(options, true)],
  etcd: (options) => [new EtcdSystem(options)],
  level: (options) => [new LevelSystem(options)],
  nats: (options) => [new NatsSystem(options)],
};

/** How the workloads are run that are no closed loops. */
const RUNS: { readonly [W in Workload]?: typeof run } = { consume: readBacklog, 'end-to-end': endToEnd };

/** What Holdfast takes by default. */
const MAX_VALUE_BYTES = 1_048_576;

const program = new Command('bench')
  .description('Measures Holdfast beside its peers at equal durability. All are driven from this process.')
  .argument('<workload>', WORKLOADS.join(', '), workloadName)
  .addOption(
    new Option('--systems <names>', 'what to measure; the first is compared with each other')
      .default(['holdfast'])
      .argParser(systemNames),
  )
  .option('--nodes <n>', 'nodes of each system', whole, 1)
  .option('--clients <n>', 'concurrent callers', whole, 64)
  .option('--seconds <s>', 'length of a run', whole, 10)
  .option('--repeat <r>', 'runs of each system, in turn', whole, 3)
  .option('--value-bytes <b>', 'size of a value, at most 1 MiB', valueSize, 1_024)
  .option('--keys <k>', 'keys, loaded first', whole, 100_000)
  .option('--trace <file.svg>', 'plot memory and lag of the first system over its last run')
  .option('--json', 'JSON lines', false)
  .action(bench);

program
  .command('catch-up')
  .description('One node of three is away while values are written, and comes back under steady load.')
  .option('--values <n>', 'values written meanwhile', whole, 300_000)
  .option('--value-bytes <b>', 'size of a value, at most 1 MiB', valueSize, 1_024)
  .option('--clients <n>', 'concurrent callers of the steady load', whole, 64)
  .option('--seconds <s>', 'steady load before the node comes back, and afterwards', whole, 10)
  .option('--trace <file.svg>', 'plot writes, their p99 and the lag')
  .option('--json', 'a JSON line', false)
  .action((options: CatchUpOptions) => catchUp(options));

program
  .command('watchers')
  .description('What very many watchers of one node cost, and what one that stops to read costs the others.')
  .option('--watchers <n>', 'watchers', whole, 10_000)
  .option('--nodes <n>', 'nodes', whole, 3)
  .option('--puts-per-second <n>', 'steady load', whole, 500)
  .option('--value-bytes <b>', 'size of a value', valueSize, 256)
  .option('--seconds <s>', 'length of a part', whole, 10)
  .option('--repeat <r>', 'times that a reader stops', whole, 2)
  .option('--json', 'a JSON line', false)
  .action((options: WatchersOptions) => watchers({ ...options, clients: 1 }));

program
  .command('leases')
  .description('What very many leases cost that are kept alive.')
  .option('--leases <n>', 'leases', whole, 100_000)
  .option('--nodes <n>', 'nodes', whole, 3)
  .option('--ttl-seconds <s>', 'time to live of each', whole, 30)
  .option('--seconds <s>', 'how long they are kept alive', whole, 60)
  .option('--json', 'a JSON line', false)
  .action((options: LeasesOptions) => leases(options));

program
  .command('topic-growth')
  .description(
    'What records of a topic of 12 partitions cost as there are more, a restart, and reads in the middle.',
  )
  .option('--records <n>', 'records', whole, 10_000_000)
  .option('--value-bytes <b>', 'size of a record', valueSize, 100)
  .option('--nodes <n>', 'nodes', whole, 3)
  .option('--plot <file.svg>', 'where to draw it')
  .option('--json', 'JSON lines', false)
  .action((options: TopicGrowthOptions) => topicGrowth(options));

program
  .command('growth')
  .description('What operations, memory and a restart cost as there are more groups, keys, callers or nodes.')
  .addOption(new Option('--axis <name>', 'what grows; all in turn by default').choices(Object.keys(AXES)))
  .option('--points <list>', 'other points of the axis, such as 1,8', wholes)
  .option('--keys <k>', 'keys, loaded first, where they do not grow', whole, 10_000)
  .option('--seconds <s>', 'length of a run', whole, 3)
  .option('--repeat <r>', 'runs at each point, of which the medians are told', whole, 1)
  .option('--plots <directory>', 'where to draw growth-AXIS.svg')
  .option('--json', 'JSON lines', false)
  .action((options: GrowthOptions, command: Command) => {
    if (options.points !== undefined && options.axis === undefined)
      command.error('error: --points are of one axis; name it with --axis');
    return growth(options);
  });

await program.enablePositionalOptions().parseAsync();

async function bench(workload: Workload, options: Options): Promise<void> {
  const contenders = await startAll(options);
  const interrupted = async () => {
    await Promise.all(contenders.map(({ system }) => system.stop().catch(() => undefined)));
    process.exit(130);
  };
  process.once('SIGINT', () => void interrupted());
  process.once('SIGTERM', () => void interrupted());
  try {
    const measured = await measure(workload, options, contenders);
    for (const summary of comparisons(measured, options.systems, workload, options)) print(options, summary);
    if (!options.json) printTable(measured);
    if (measured.some(({ figures }) => figures.errors > 0)) process.exitCode = 1;
  } finally {
    for (const { driver, system } of contenders) {
      await driver.close();
      await system.stop();
    }
  }
}

async function startAll(options: Options): Promise<Contender[]> {
  const contenders: Contender[] = [];
  const settings = { nodes: options.nodes, callers: options.clients, valueBytes: options.valueBytes };
  for (const name of options.systems) {
    try {
      for (const system of SYSTEMS[name]!(settings))
        contenders.push({ system, driver: await connected(system) });
    } catch (error) {
      if (!(error instanceof SystemMissing)) {
        await Promise.all(contenders.map(({ system }) => system.stop()));
        throw error;
      }
      console.error(`skipped ${name}: ${error.message}`);
    }
  }
  return contenders;
}

/** Nothing of a system that cannot be used goes on running. */
async function connected(system: System): Promise<Driver> {
  try {
    return await system.connect();
  } catch (error) {
    await system.stop();
    throw error;
  }
}

/** Loads, warms up, and runs the systems in turn, so that a slow minute of the machine meets them all. */
async function measure(
  workload: Workload,
  options: Options,
  contenders: readonly Contender[],
): Promise<Measured[]> {
  const shape = { workload, callers: options.clients, valueBytes: options.valueBytes, keys: options.keys };
  const runOne = RUNS[workload] ?? run;
  const bar = startProgress(
    options.json,
    contenders.length * (options.keys + (options.repeat * options.seconds + warmUp(options)) * 1_000),
  );
  for (const { driver } of contenders) {
    await loadFor(workload, driver, options);
    bar.increment(options.keys);
    await runOne(driver, { ...shape, seconds: warmUp(options) });
    bar.increment(warmUp(options) * 1_000);
  }
  const measured: Measured[] = [];
  for (let round = 0; round < options.repeat; round++) {
    for (const { driver, system } of contenders) {
      const trace =
        options.trace !== undefined && system.name === options.systems[0]
          ? new Trace(driver, system.pids)
          : undefined;
      const figures = await runOne(driver, { ...shape, seconds: options.seconds }, system.pids);
      if (trace !== undefined) console.error(JSON.stringify(await trace.stop(options.trace!)));
      measured.push({ system: system.name, description: system.description, round, figures });
      bar.increment(options.seconds * 1_000);
      print(options, runLine(system.name, workload, options, figures, system.description));
    }
  }
  bar.stop();
  return measured;
}

/** Workloads of the configuration and of topics have theirs there; those of locks, watches and IDs have none. */
async function loadFor(workload: Workload, driver: Driver, { keys, valueBytes }: Options): Promise<void> {
  const done = () => undefined;
  if (workload.startsWith('kv-')) return load(driver, keys, valueBytes, done);
  if (workload === 'consume' && driver.produce !== undefined)
    await load(driver, keys, valueBytes, done, 0, (_, value) => driver.produce!(value));
  if (workload === 'config-put' && driver.configPut !== undefined)
    await load(driver, keys, valueBytes, done, 0, (key, value) => driver.configPut!(key, value));
}

function warmUp({ seconds }: Options): number {
  return Math.max(1, Math.min(3, seconds / 2));
}

function runLine(
  system: string,
  workload: string,
  options: Options,
  figures: Measured['figures'],
  description: string,
) {
  const { server } = figures;
  return {
    system,
    workload,
    nodes: options.nodes,
    clients: options.clients,
    value_bytes: options.valueBytes,
    ops_per_second: Math.round(figures.opsPerSecond),
    p50_us: figures.p50Us,
    p99_us: figures.p99Us,
    errors: figures.errors,
    max_us: figures.maxUs,
    client_cpu_us: Number(figures.clientCpuUs.toFixed(1)),
    server_cpu_us: Number(figures.serverCpuUs.toFixed(1)),
    operations: figures.operations,
    description,
    ...(figures.firstError !== undefined && { first_error: figures.firstError }),
    ...(server && {
      server: {
        operations: server.operations,
        mean_us: server.meanUs,
        sync_mean_us: server.syncMeanUs,
        records_per_batch: Number(server.recordsPerBatch.toFixed(1)),
        bytes_per_batch: server.bytesPerBatch,
      },
    }),
  };
}

function print({ json }: Options, line: object): void {
  if (json) console.log(JSON.stringify(line));
}

function printTable(measured: readonly Measured[]): void {
  const modes = [...new Set(measured.map(({ description }) => description))];
  console.table(
    modes.map((mode) => {
      const runs = measured.filter(({ description }) => description === mode);
      const middle = (pick: (run: Measured) => number) => Math.round(medianOf(runs.map(pick)));
      return {
        system: runs[0]!.system,
        'op/s': middle(({ figures }) => figures.opsPerSecond),
        'p50 µs': middle(({ figures }) => figures.p50Us),
        'p99 µs': middle(({ figures }) => figures.p99Us),
        'max µs': middle(({ figures }) => figures.maxUs),
        errors: runs.reduce((sum, { figures }) => sum + figures.errors, 0),
        'client CPU µs': middle(({ figures }) => figures.clientCpuUs),
        'server CPU µs': middle(({ figures }) => figures.serverCpuUs),
        'server µs': middle(({ figures }) => figures.server?.meanUs ?? 0),
        'sync µs': middle(({ figures }) => figures.server?.syncMeanUs ?? 0),
        mode: mode.split('; ').slice(1).join('; '),
      };
    }),
  );
  console.log(`${availableParallelism()} cores, Node.js ${process.version}`);
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError('a whole number above 0 is needed.');
  return value;
}

function wholes(text: string): number[] {
  return text.split(',').map(whole);
}

function valueSize(text: string): number {
  const bytes = whole(text);
  if (bytes > MAX_VALUE_BYTES) throw new InvalidArgumentError(`at most ${MAX_VALUE_BYTES} bytes.`);
  return bytes;
}

function workloadName(text: string): Workload {
  const name = WORKLOADS.find((known) => known === text);
  if (name === undefined) throw new InvalidArgumentError(`workloads are ${WORKLOADS.join(', ')}.`);
  return name;
}

function systemNames(text: string): string[] {
  const names = text.split(',');
  const unknown = names.find((name) => SYSTEMS[name] === undefined);
  if (unknown !== undefined)
    throw new InvalidArgumentError(`"${unknown}" is not one of ${Object.keys(SYSTEMS).join(', ')}.`);
  return names;
}
