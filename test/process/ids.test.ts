/**
 * Three real nodes make IDs while their clocks are set back by ten seconds, while they are
 * killed and started again with the clock set back, and while one is cut off: no ID is given
 * out twice, and those of a worker only grow. `IDS=10000000` for so many in all.
 */
import type { Holdfast } from '@holdfast/client';
import { afterAll, expect, it } from 'vitest';
import { IdLedger } from './id-ledger.ts';
import { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';
import { CANNOT_STEP, SteppedClock } from './stepped-clock.ts';
import { CANNOT_NETWORK, TestNetwork } from './test-network.ts';

const IDS = Number(process.env['IDS'] ?? 300_000);
const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const NAMES = ['n1', 'n2', 'n3'];
const STEP_S = 10;
const MOST = 65_536;
/** Faults of a run, so that each is worth a part of the IDs. */
const FAULTS = 11;
const clocks = new Map(NAMES.map((name) => [name, new SteppedClock()]));
afterAll(() => clocks.forEach((clock) => clock[Symbol.dispose]()));

/** Takes IDs of one node, one call after the other. */
class Taker {
  readonly name: string;
  readonly #client: Holdfast;
  readonly #ledger: IdLedger;
  #random = SEED;
  lastError: Error | undefined;
  failures = 0;
  readonly reasons = new Set<string>();

  constructor(name: string, client: Holdfast, ledger: IdLedger) {
    this.name = name;
    this.#client = client;
    this.#ledger = ledger;
  }

  /** A few at a time, until it is to stop. */
  async takeUntil(quota: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.take(Math.ceil(quota / 100), signal);
      await pause(5);
    }
  }

  /** Until it has as many, or is to stop. */
  async take(quota: number, signal?: AbortSignal): Promise<void> {
    for (let left = quota; left > 0 && !signal?.aborted;) {
      this.#random = (this.#random * 1_103_515_245 + 12_345) % 2 ** 31;
      const count = Math.min(left, MOST, 1 + (this.#random % Math.max(1, Math.ceil(quota / 8))));
      const before = this.#ledger.reached();
      const ids = await this.#client.ids.nextMany(count).catch((error: Error & { reason?: string }) => {
        [this.lastError, this.failures] = [error, this.failures + 1];
        this.reasons.add(error.reason ?? error.message);
        return undefined;
      });
      if (ids === undefined) await pause(20);
      else {
        this.#ledger.add(ids, before);
        left -= count;
      }
    }
  }

  report(): string {
    return `${this.name} failed ${this.failures} times (${[...this.reasons].join(', ')}), last: ${this.lastError?.message}`;
  }
}

/** Takes IDs from the stock of a client of all nodes. */
async function takeStocked(client: Holdfast, ledger: IdLedger, quota: number) {
  for (let left = quota; left > 0; left--) {
    const id = client.ids.tryNext() ?? (await client.ids.next().catch(() => undefined));
    if (id !== undefined) ledger.addStocked(id);
    else await pause(20);
  }
}

const pause = (ms: number) => new Promise<void>((resolve) => void setTimeout(resolve, ms));

async function setClock(cluster: RealCluster, name: string, seconds: number): Promise<void> {
  const node = cluster.node(name);
  const { length } = node.output;
  clocks.get(name)!.set(seconds);
  await until(
    () => node.output.slice(length).includes('the wall clock was set'),
    30_000,
    () => `${name} does not notice: ${node.output.slice(length)}`,
  );
}

async function killAll(cluster: RealCluster, names: readonly string[]): Promise<void> {
  await Promise.all(names.map((name) => cluster.node(name).kill()));
  for (const name of names) cluster.spawn(name);
  await cluster.ready(names);
}

it('no ID is given out twice, whatever clocks, restarts and partitions do', async (context) => {
  if (CANNOT_STEP !== undefined) context.skip(CANNOT_STEP);
  using network = CANNOT_NETWORK === undefined ? await TestNetwork.create(NAMES) : undefined;
  await using cluster = await RealCluster.start({
    ...(network && { network }),
    env: (name) => clocks.get(name)!.env,
  });
  const ledger = new IdLedger();
  const takers: Taker[] = [];
  for (const name of NAMES) {
    const only = await cluster.connect({ endpoints: [cluster.node(name).grpc], timeout: '5s' });
    takers.push(new Taker(name, only, ledger));
  }
  const anybody = await cluster.connect({ timeout: '5s' });
  // About half of all while something happens, half when it has.
  const quota = Math.ceil(IDS / FAULTS / 2 / (takers.length + 1));
  const taking = () =>
    Promise.all([...takers.map((taker) => taker.take(quota)), takeStocked(anybody, ledger, quota)]);

  let faults = 0;
  /** IDs are taken of all nodes before, while it happens, and when it has. */
  const during = async (what: string, fault: () => Promise<void>) => {
    const over = new AbortController();
    const meanwhile = Promise.all(takers.map((taker) => taker.takeUntil(quota, over.signal)));
    await fault().finally(() => over.abort());
    await meanwhile;
    let isDone = false;
    const afterwards = taking().then(() => (isDone = true));
    afterwards.catch(() => undefined);
    await until(
      () => isDone || Promise.race([afterwards, Promise.resolve(false)]),
      120_000,
      () => `after "${what}" (seed ${SEED}): ${takers.map((taker) => taker.report()).join('; ')}`,
    );
    faults++;
    console.log(`${what}: ${ledger.count} IDs by ${ledger.workers} workers`);
  };

  for (const name of NAMES) {
    await during(`${name}'s clock is set back`, () => setClock(cluster, name, -STEP_S));
    await during(`${name} is killed with its clock set back`, () => killAll(cluster, [name]));
    await during(`${name}'s clock is set right`, () => setClock(cluster, name, 0));
  }
  await during('all are killed', () => killAll(cluster, NAMES));
  if (network !== undefined) {
    const alone = takers[1]!;
    alone.reasons.clear();
    await during('n2 is cut off', async () => {
      network.split(['n2'], ['n1', 'n3']);
      await until(
        () => alone.reasons.has('ID_WORKER_UNAVAILABLE'),
        60_000,
        () => `n2 makes IDs without a majority, or says something else: ${alone.report()}`,
      );
      network.heal();
    });
  }
  await Promise.all(takers.map((taker) => taker.take(Math.ceil((IDS - ledger.count) / takers.length))));
  expect(ledger.count).toBeGreaterThanOrEqual(IDS);
  expect(ledger.workers).toBeGreaterThan(NAMES.length); // numbers were exchanged
  expect(ledger.findDouble()).toBeUndefined();
  console.log(`seed ${SEED}, ${faults} faults: ${takers.map((taker) => taker.report()).join('; ')}`);
}, 900_000);
