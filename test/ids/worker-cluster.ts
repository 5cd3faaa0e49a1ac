/** Processes that make IDs over one tree of the cluster's own keys, each with a clock of its own. */
import { HoldfastError } from '../../client/error.ts';
import { ID_EPOCH_MS, WORKERS } from '../../client/ids/id-layout.ts';
import { Ids, type MadeIds } from '../../node/ids/ids.ts';
import {
  decodeWorker,
  encodeWorker,
  workerKey,
  workerOf,
  type WorkerRecord,
} from '../../node/ids/worker-record.ts';
import type { WorkerTree } from '../../node/ids/worker-lease.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';

type Transaction = Parameters<WorkerTree['transact']>[0];

/** What becomes of a transaction: it is answered, its answer is lost, it comes late and is not answered, it never comes. */
export type Fate = 'answered' | 'unanswered' | 'late' | 'lost';

/** One process of a member. */
export class Maker {
  readonly ids: Ids;
  readonly clock: SimulatedClock;
  readonly process: SimulatedProcess;
  readonly member: number;
  unled: HoldfastError | undefined;

  constructor(cluster: WorkerCluster, member: number, offsetMs: number) {
    this.member = member;
    this.process = new SimulatedProcess(cluster.world);
    this.clock = new SimulatedClock(this.process, { offsetMs });
    this.ids = new Ids({
      tree: cluster.treeOf(this.clock),
      clock: this.clock,
      random: cluster.random.fork(`maker-${++cluster.starts}`),
      member,
      incarnation: cluster.starts,
      isGone: (other) => cluster.gone.has(other),
      unledError: () => this.unled,
    });
  }

  next(count = 1, timeoutMs = 5_000): Promise<MadeIds> {
    return this.ids.next(count, this.clock.monotonicMs() + timeoutMs);
  }

  get worker(): number | undefined {
    return this.ids.lease.generator?.worker;
  }
}

export class WorkerCluster {
  readonly world = new SimulatedScheduler();
  readonly random: SeededRandom;
  readonly gone = new Set<number>();
  starts = 0;
  writes = 0;
  /** What becomes of the next transactions. */
  fate: () => Fate = () => 'answered';
  /** Whether group 0 has a majority. */
  isLed = true;
  readonly #keys = new Map<string, { value: Uint8Array; modRevision: number }>();
  #revision = 0;
  readonly #given = new Set<bigint>();
  readonly #last = new Map<number, bigint>();

  constructor(seed: string | number) {
    this.random = new SeededRandom(seed);
  }

  start(member: number, offsetMs = 0): Maker {
    return new Maker(this, member, offsetMs);
  }

  /** All numbers from one on are others', so that few are left to take over from each other. */
  occupy(from: number): void {
    const record = {
      member: 9_999,
      incarnation: 1,
      process: 'other',
      isTakenOver: false,
      floorMs: 0,
      highWaterMs: 0,
    };
    for (let worker = from; worker < WORKERS; worker++)
      this.#keys.set(workerKey(worker), { value: Uint8Array.from(encodeWorker(record)), modRevision: 1 });
    this.#revision = 1;
  }

  /** A number is nobody's. */
  release(worker: number): void {
    const record = { ...this.records().get(worker)!, member: 0, process: '', isTakenOver: false };
    const node = { value: Uint8Array.from(encodeWorker(record)), modRevision: ++this.#revision };
    this.#keys.set(workerKey(worker), node);
  }

  records(): Map<number, WorkerRecord> {
    return new Map([...this.#keys].sort().map(([key, { value }]) => [workerOf(key), decodeWorker(value)]));
  }

  settle<T>(work: Promise<T>): Promise<T> {
    return this.world.settle(work, 120_000);
  }

  /** Makes IDs and checks that they are new, in order, and not of the future. */
  async make(maker: Maker, count = 1, timeoutMs = 5_000): Promise<bigint[]> {
    const { runs, worker } = await this.settle(maker.next(count, timeoutMs));
    const ids = runs.flatMap(({ first, count: length }) =>
      Array.from({ length }, (_, at) => first + BigInt(at)),
    );
    if (ids.length !== count) throw new Error(`${ids.length} IDs for ${count}`);
    for (const id of ids) {
      if (Number((id >> 12n) & 1_023n) !== worker) throw new Error(`an ID of another worker than ${worker}`);
      if (this.#given.has(id)) throw new Error(`${id} was given out twice`);
      this.#given.add(id);
      if (id <= (this.#last.get(worker) ?? 0n)) throw new Error(`${id} is not greater than the one before`);
      this.#last.set(worker, id);
    }
    return ids;
  }

  treeOf(clock: SimulatedClock): WorkerTree {
    return {
      list: async (prefix) =>
        [...this.#keys].filter(([key]) => key.startsWith(prefix)).map(([key, node]) => ({ key, ...node })),
      awaitRead: async () => {
        if (!this.isLed) await this.#fail(clock);
      },
      transact: (transaction) => this.#transact(transaction, clock),
    };
  }

  async #transact(transaction: Transaction, clock: SimulatedClock) {
    const fate = this.isLed ? this.fate() : 'lost';
    await wait(clock, 2);
    if (fate === 'answered') return this.#apply(transaction);
    if (fate === 'unanswered') this.#apply(transaction);
    // Whoever proposed it may be gone by then.
    if (fate === 'late') this.world.after(this.random.float() * 3_000, () => void this.#apply(transaction));
    return this.#fail(clock);
  }

  #apply({ comparisons, changes }: Transaction) {
    const holds = comparisons.every(
      ({ key, modRevision }) => (this.#keys.get(key)?.modRevision ?? 0) === modRevision,
    );
    if (!holds) return { succeeded: false, revision: this.#revision };
    this.#revision++;
    this.writes++;
    for (const { key, value } of changes)
      this.#keys.set(key, { value: Uint8Array.from(value!), modRevision: this.#revision });
    return { succeeded: true, revision: this.#revision };
  }

  async #fail(clock: SimulatedClock): Promise<never> {
    await wait(clock, 1_500);
    throw new HoldfastError({ reason: 'NO_LEADER', message: 'nobody leads', outcome: 'UNKNOWN' });
  }
}

function wait(clock: SimulatedClock, ms: number): Promise<void> {
  return new Promise((resolve) => void clock.setTimer(ms, resolve));
}

/** Milliseconds of IDs that a clock shows. */
export function idMs(clock: SimulatedClock): number {
  return clock.wallMs() - ID_EPOCH_MS;
}
