/**
 * `npm run soak -- --kind process`: real nodes under faults drawn from a seed, with clients
 * that check all that they are told. Of the nodes never more than a minority is harmed at a
 * time, except in short phases that are said. The seed decides what happens to whom; when,
 * and what the clients do meanwhile, is the machine's.
 */
import { between } from '@holdfast/client/random';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { CheckedLoad } from './checked-load.ts';
import { PROCESS_FAULTS, type ProcessFault, type Scene } from './process-faults.ts';
import { RealCluster } from './real-cluster.ts';
import { CANNOT_MOUNT, SmallMount } from './small-mount.ts';
import { CANNOT_STEP, SteppedClock } from './stepped-clock.ts';
import { CANNOT_NETWORK, TestNetwork } from './test-network.ts';

const WINDOW_MS = 20_000;
const WELL_MS = 60_000;
const MOUNT = '128m';
const CLIENTS = 6;
const LOYAL_CLIENTS = 3;
/** With fewer of these in a minute a run says nothing. */
const FEWEST_ACKNOWLEDGED = 600;
const FEWEST_FAULTS = 3;

export interface ProcessSoakOptions {
  readonly minutes: number;
  readonly seed: number;
  /** 3 or 5. */
  readonly nodes: number;
  readonly say: (line: string) => void;
}

/** Resolves when the time is up and all was right; rejects with what was wrong. */
export async function soakProcesses({ minutes, seed, nodes, say }: ProcessSoakOptions): Promise<void> {
  const names = Array.from({ length: nodes }, (_, at) => `n${at + 1}`);
  using stage = new DisposableStack();
  for (const why of [CANNOT_NETWORK, CANNOT_MOUNT, CANNOT_STEP])
    if (why !== undefined) say(`without: ${why}`);
  const network = CANNOT_NETWORK === undefined ? stage.use(await TestNetwork.create(names)) : undefined;
  const forEach = <T extends Disposable>(obstacle: string | undefined, make: () => T) =>
    new Map(obstacle === undefined ? names.map((name) => [name, stage.use(make())]) : []);
  const mounts = forEach(CANNOT_MOUNT, () => new SmallMount(MOUNT));
  const clocks = forEach(CANNOT_STEP, () => new SteppedClock());
  await using cluster = await RealCluster.start({
    nodes,
    ...(network && { network }),
    under: (name) => mounts.get(name)?.path,
    env: (name) => clocks.get(name)?.env ?? {},
  });
  const random = new SeededRandom(seed);
  // Some clients know one node alone and soon give up: they ask it at once when it is back.
  const isLoyal = (number: number) => number < LOYAL_CLIENTS;
  await using load = await CheckedLoad.begin(cluster, {
    seed: seed + 1,
    clients: CLIENTS,
    connect: (number) => (isLoyal(number) ? { endpoints: cluster.nodes[number]!.grpc } : {}),
    timeoutMs: (number) => (isLoyal(number) ? 300 : 3_000),
  });
  const termsBefore = await terms(cluster);
  const endMs = performance.now() + minutes * 60_000;
  const faults = new Faults({ cluster, network, mounts, clocks, random }, endMs, say);
  await Promise.race([Promise.all([faults.run(), checkWindows(load, endMs)]), interrupted()]);
  await load.end();
  await cluster.ready();
  await cluster.caughtUp();
  const leaderships = (await terms(cluster)) - termsBefore;
  say(`${load.report()}; ${load.counts.checkedOperations} checked in ${load.counts.checkedWindows} parts`);
  say(
    `faults: ${faults.report()}; terms begun: ${leaderships}; longest time without a write: ${load.longestGapMs.toFixed(0)} ms`,
  );
  requireEnough(minutes, load, faults, leaderships);
}

/** Rejects when somebody ends the run, so that everything is taken down in order. */
export function interrupted(): Promise<never> {
  return new Promise((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => reject(new Error(`ended by ${signal}`)));
  });
}

function requireEnough(minutes: number, load: CheckedLoad, faults: Faults, leaderships: number): void {
  const { acknowledged } = load.counts;
  if (acknowledged < minutes * FEWEST_ACKNOWLEDGED)
    throw new Error(`only ${acknowledged} operations were acknowledged: this run says nothing`);
  if (faults.total < Math.floor(minutes * FEWEST_FAULTS))
    throw new Error(`only ${faults.total} faults were injected: this run says nothing`);
  if (faults.total > 10 && leaderships === 0) throw new Error('no leader has changed: this run says nothing');
}

async function checkWindows(load: CheckedLoad, endMs: number): Promise<void> {
  while (performance.now() < endMs) {
    await pause(Math.min(WINDOW_MS, endMs - performance.now()));
    await load.checkWindow();
  }
}

/** The sum of the terms of all groups. */
async function terms(cluster: RealCluster): Promise<number> {
  const leaders = [...(await cluster.leaders()).values()];
  return leaders.reduce((sum, { group }) => sum + Number(group.term), 0);
}

/** Draws what befalls which node, and does it. */
export class Faults {
  readonly #scene: Scene;
  readonly #endMs: number;
  readonly #say: (line: string) => void;
  readonly #kinds: readonly ProcessFault[];
  readonly #counts = new Map<string, number>();
  readonly #harmed = new Map<string, Promise<void>>();
  #startedMs = performance.now();

  constructor(scene: Scene, endMs: number, say: (line: string) => void) {
    this.#scene = scene;
    this.#endMs = endMs;
    this.#say = say;
    this.#kinds = PROCESS_FAULTS.filter(({ needs = () => true }) => needs(scene));
    for (const { name } of this.#kinds) this.#counts.set(name, 0);
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  report(): string {
    return [...this.#counts].map(([name, count]) => `${name} ${count}`).join(', ');
  }

  /** Until the time is up and all victims are well again. */
  async run(): Promise<void> {
    const { random, cluster } = this.#scene;
    const minority = Math.floor((cluster.names.length - 1) / 2);
    while (performance.now() < this.#endMs) {
      await pause(between(random, 100, 1_500));
      const kind = this.#draw();
      const most = kind.isAlone ? 0 : minority - 1;
      while (this.#harmed.size > most) await Promise.race(this.#harmed.values());
      if (performance.now() > this.#endMs) break;
      const victim = await this.#victim();
      const harm = this.#harm(kind, victim).finally(() => this.#harmed.delete(victim));
      this.#harmed.set(victim, harm);
      if (kind.isAlone) await harm;
    }
    await Promise.all(this.#harmed.values());
  }

  async #harm(kind: ProcessFault, victim: string): Promise<void> {
    this.#counts.set(kind.name, this.#counts.get(kind.name)! + 1);
    const atS = ((performance.now() - this.#startedMs) / 1_000).toFixed(1);
    this.#say(
      `${atS.padStart(7)} s  ${kind.name} ${victim}${kind.takesMajority ? ': a phase without a majority' : ''}`,
    );
    await kind.inject(this.#scene, victim);
    const { cluster } = this.#scene;
    const names = kind.isAlone ? cluster.names : [victim];
    await cluster.ready(names, WELL_MS);
    await cluster.caughtUp(names, WELL_MS);
  }

  #draw(): ProcessFault {
    const sum = this.#kinds.reduce((total, { weight }) => total + weight, 0);
    let left = this.#scene.random.float() * sum;
    return this.#kinds.find(({ weight }) => (left -= weight) < 0) ?? this.#kinds[0]!;
  }

  /** Mostly whoever leads the cluster. */
  async #victim(): Promise<string> {
    const { cluster, random } = this.#scene;
    const free = cluster.names.filter((name) => !this.#harmed.has(name));
    const drawn = free[between(random, 0, free.length - 1)]!;
    if (!random.chance(0.4)) return drawn;
    const leader = (await cluster.leaders()).get(0n)?.name;
    return leader !== undefined && free.includes(leader) ? leader : drawn;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
