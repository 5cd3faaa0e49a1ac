/**
 * `npm run soak -- --kind locks`: contenders for a few locks, in processes of their own, while
 * nodes are killed, stopped and cut off, and so are the processes that hold locks. What each
 * was told is judged by `lock-ledger.ts`; what the locks protect is keys that check tokens.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { between } from '@holdfast/client/random';
import type { Holdfast } from '@holdfast/client';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { nowUs } from './lock-clock.ts';
import type { ContenderNews, ContenderOrders } from './lock-contender.ts';
import { LockLedger } from './lock-ledger.ts';
import { Faults, interrupted } from './process-soak.ts';
import { RealCluster } from './real-cluster.ts';
import { CANNOT_NETWORK, TestNetwork } from './test-network.ts';

const KEYSPACE = 'resource';
const LOCKS = ['stock', 'ledger', 'mail', 'index'];
const TTL_MS = 2_000;
const WAIT_MS = 20_000;
const HOLD_MS = 20;
const LOOK_MS = 100;
/** With fewer of these in a minute a run says nothing. */
const FEWEST_HOLDINGS = 300;

export interface LockSoakOptions {
  readonly minutes: number;
  readonly seed: number;
  /** Contenders; default 200. */
  readonly contenders?: number;
  /** Processes that they live in; default 8. */
  readonly processes?: number;
  readonly say: (line: string) => void;
}

/** A process of contenders, which is started again when it was killed. */
class Contenders {
  readonly number: number;
  readonly #orders: ContenderOrders;
  readonly #take: (process: number, news: ContenderNews) => void;
  #child: ChildProcess | undefined;
  #life = 0;

  constructor(number: number, orders: ContenderOrders, take: (process: number, news: ContenderNews) => void) {
    this.number = number;
    this.#orders = orders;
    this.#take = take;
  }

  /** Another number for each life: what one was told says nothing of the next. */
  get id(): number {
    return this.number * 1_000 + this.#life;
  }

  start(): void {
    this.#life++;
    const { id } = this;
    const orders = { ...this.#orders, seed: this.#orders.seed + id };
    const child = fork(new URL('./lock-contender.ts', import.meta.url), [JSON.stringify(orders)], {
      execArgv: ['--conditions=holdfast-source'],
    });
    child.on('message', (news) => this.#take(id, news as ContenderNews));
    this.#child = child;
  }

  signal(name: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): void {
    this.#child?.kill(name);
  }

  async end(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await closed;
  }
}

/** Resolves to what was done when the time is up and all was right; rejects with what was wrong. */
export async function soakLocks(options: LockSoakOptions): Promise<string> {
  const { minutes, seed, contenders = 200, processes = 8, say } = options;
  const random = new SeededRandom(seed);
  const names = ['n1', 'n2', 'n3'];
  using stage = new DisposableStack();
  if (CANNOT_NETWORK !== undefined) say(`without: ${CANNOT_NETWORK}`);
  const network = CANNOT_NETWORK === undefined ? stage.use(await TestNetwork.create(names)) : undefined;
  await using cluster = await RealCluster.start({ nodes: 3, ...(network && { network }) });
  const client = await cluster.connect();
  await client.keyspaces.create(KEYSPACE, { partitions: 2 });
  const ledger = new LockLedger();
  const all = Array.from({ length: processes }, (_, at) => {
    const share = Math.floor(contenders / processes) + (at < contenders % processes ? 1 : 0);
    const orders = { ...ORDERS, endpoints: cluster.endpoints, seed, contenders: share };
    return new Contenders(at + 1, orders, (process, news) => ledger.take(process, news));
  });
  for (const one of all) one.start();
  const endMs = performance.now() + minutes * 60_000;
  const faults = new Faults(
    { cluster, network, mounts: new Map(), clocks: new Map(), random: random.fork('nodes') },
    endMs,
    say,
  );
  const harm = new ContenderFaults(all, ledger, random.fork('contenders'), endMs, say);
  try {
    await Promise.race([
      Promise.all([faults.run(), harm.run(), watchQueues(client, ledger, random.fork('looks'), endMs)]),
      interrupted(),
    ]);
    await pause(2 * TTL_MS); // what is under way is told
  } finally {
    await Promise.all(all.map((one) => one.end()));
  }
  const violations = ledger.judge();
  const report = `${contenders} contenders in ${processes} processes: ${ledger.report()}; nodes: ${faults.report()}; contenders: ${harm.report()}`;
  say(report);
  if (violations.length > 0)
    throw new Error(`${violations.length} violations:\n${violations.slice(0, 20).join('\n')}`);
  if (ledger.holdings < minutes * FEWEST_HOLDINGS)
    throw new Error(`locks were held only ${ledger.holdings} times: this run says nothing`);
  return report;
}

const ORDERS = { locks: LOCKS, keyspace: KEYSPACE, ttlMs: TTL_MS, waitMs: WAIT_MS, holdMs: HOLD_MS };

/** Stops processes of contenders for longer than their sessions live, and kills them. */
class ContenderFaults {
  readonly #all: readonly Contenders[];
  readonly #ledger: LockLedger;
  readonly #random: SeededRandom;
  readonly #endMs: number;
  readonly #say: (line: string) => void;
  #stops = 0;
  #kills = 0;

  constructor(
    all: readonly Contenders[],
    ledger: LockLedger,
    random: SeededRandom,
    endMs: number,
    say: (line: string) => void,
  ) {
    this.#all = all;
    this.#ledger = ledger;
    this.#random = random;
    this.#endMs = endMs;
    this.#say = say;
  }

  report(): string {
    return `stopped ${this.#stops}, killed ${this.#kills}`;
  }

  async run(): Promise<void> {
    while (performance.now() < this.#endMs) {
      await pause(between(this.#random, 500, 2_000));
      const victim = this.#all[between(this.#random, 0, this.#all.length - 1)]!;
      if (this.#random.chance(0.3)) {
        this.#kills++;
        const { id } = victim;
        await victim.end();
        this.#ledger.died(id, nowUs());
        victim.start();
        continue;
      }
      this.#stops++;
      const stop = this.#ledger.stopped(victim.id, nowUs());
      const forMs = between(this.#random, TTL_MS / 2, 3 * TTL_MS);
      this.#say(`          contenders ${victim.number} stopped for ${forMs} ms`);
      victim.signal('SIGSTOP');
      await pause(forMs);
      victim.signal('SIGCONT');
      stop.toUs = nowUs() + 200_000; // it hears of its stop in its next turns
    }
  }
}

async function watchQueues(
  client: Holdfast,
  ledger: LockLedger,
  random: SeededRandom,
  endMs: number,
): Promise<void> {
  while (performance.now() < endMs) {
    await pause(LOOK_MS);
    const lock = LOCKS[between(random, 0, LOCKS.length - 1)]!;
    const atUs = nowUs();
    const seen = await client.lock.describe(lock, { timeout: 2_000 }).catch(() => undefined);
    const holder = seen?.holders[0];
    if (seen === undefined || holder === undefined) continue;
    const waiters = seen.waiters.map(({ session }) => String(session));
    ledger.sawWaiting(lock, waiters, holder.token, atUs);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
