/**
 * The work on locks, leases and elections of a run, and its checks: callers with clients of
 * their own, some of which are killed; what group 0 applies, followed by models; and in the
 * end, without faults: everybody gets what they wait for, and what nobody keeps alive is gone.
 */
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import { ConfigChecker } from '../checkers/config-checker.ts';
import { ElectionChecker } from '../checkers/election-checker.ts';
import { LeaseChecker } from '../checkers/lease-checker.ts';
import { LockChecker } from '../checkers/lock-checker.ts';
import { NumberChecker } from '../checkers/number-checker.ts';
import { SessionModel } from '../checkers/session-model.ts';
import { AppliedLog } from './applied-log.ts';
import { AppliedModels } from './applied-models.ts';
import { ConfigCaller } from './config-caller.ts';
import { ConfigWatcher } from './config-watcher.ts';
import { ELECTIONS, ElectionCaller } from './election-caller.ts';
import { LockCaller } from './lock-caller.ts';
import { LOCKS } from './lock-plan.ts';
import { NumberCaller } from './number-caller.ts';
import { WorkRecorder } from './work-recorder.ts';
import type { World } from './world.ts';
import { WorldClient } from './world-client.ts';
import type { NodeSurroundings } from './node-surroundings.ts';

/** Rate of a node's clock beyond which holders may believe for too long: their margin is 5 %. */
const MARGIN = 1.05;
/** Virtual time from the end of the faults until all have what they wait for. */
const BOUND_MS = 60_000;
/** What a lease may live longer than its time after the faults: a change of leader, and what lies between. */
const LEASE_BOUND_MS = 12_000;
/** Share of clients that are killed, with what they hold. */
const KILLED = 0.3;
const OPERATIONS_A_SECOND = 16;

interface WorkCaller {
  run(thinkMs: number, isOver: () => boolean): Promise<void>;
  /** The process was killed: it believes nothing any more. */
  die(): void;
}

export class CoordinationWork {
  readonly recorder: WorkRecorder;
  readonly log: AppliedLog;
  readonly locks: LockChecker;
  readonly leases: LeaseChecker;
  readonly elections = new ElectionChecker();
  readonly config = new ConfigChecker();
  readonly numbers = new NumberChecker();
  readonly clients: readonly WorldClient[];
  readonly #world: World;
  readonly #callers: readonly LockCaller[];
  readonly #candidates: readonly ElectionCaller[];
  readonly #writers: readonly ConfigCaller[];
  readonly #counters: readonly NumberCaller[];
  readonly #watchers: readonly ConfigWatcher[];
  readonly #observing = new AbortController();
  readonly #dead = new Set<WorldClient>();
  readonly #random: SeededRandom;
  readonly #model: SessionModel;
  readonly #running = new Set<WorldClient>();

  constructor(world: World, around: NodeSurroundings, random: SeededRandom) {
    this.#world = world;
    this.#random = random;
    this.recorder = new WorkRecorder(world.recorder);
    const mayOutlast = () => this.#fastest() > MARGIN;
    const nowMs = () => world.scheduler.nowMs();
    this.locks = new LockChecker(mayOutlast);
    this.leases = new LeaseChecker({ nowMs, fastest: () => this.#fastest(), mayOutlast });
    this.#model = new SessionModel({
      onGranted: (...granted) => this.locks.onGranted(...granted),
      onQueue: (...changed) => this.locks.onQueue(...changed),
      onSaid: (name, session, token, revision, value) =>
        this.elections.onSaid(name, {
          session,
          token: BigInt(token),
          revision: BigInt(revision),
          value: Buffer.from(value).toString(),
        }),
      onLease: (lease) => this.leases.onGranted(lease),
      onLeaseEnded: (lease, hasExpired) => this.#onLeaseEnded(lease, hasExpired),
    });
    this.log = new AppliedLog(new AppliedModels(this.#model, this.config, this.numbers), (error) =>
      world.fail(error),
    );
    this.clients = Array.from(
      { length: world.settings.coordinators },
      (_, at) => new WorldClient(`l${at + 1}`, random.fork(`client-${at}`), around),
    );
    const { locks, leases, elections, config, numbers, recorder } = this;
    const work = {
      locks,
      leases,
      elections,
      config,
      numbers,
      recorder,
      nowMs,
      keyspace: world.settings.keyspaces[0]!.name,
    };
    this.#callers = this.clients.map(
      (client, at) => new LockCaller(client.name, client, work, random.fork(`caller-${at}`)),
    );
    this.#candidates = this.clients.map(
      (client, at) => new ElectionCaller(client.name, client, work, random.fork(`candidate-${at}`)),
    );
    this.#writers = this.clients.map(
      (client, at) => new ConfigCaller(client.name, client, work, random.fork(`config-${at}`)),
    );
    this.#counters = this.clients.map(
      (client, at) => new NumberCaller(client.name, client, work, random.fork(`numbers-${at}`)),
    );
    this.#watchers = this.clients.map(
      (client, at) => new ConfigWatcher(client.name, client, work, random.fork(`watcher-${at}`)),
    );
  }

  /** Callers work until `isOver`; some die before. */
  start(isOver: () => boolean): void {
    for (const [at, client] of this.clients.entries()) {
      this.#run(
        client,
        [this.#callers[at]!, this.#candidates[at]!, this.#writers[at]!, this.#counters[at]!],
        isOver,
      );
      this.#watchers[at]!.run().catch((error: unknown) => this.#fail(error));
      for (const election of ELECTIONS)
        this.#candidates
          [at]!.observe(election, this.#observing.signal)
          .catch((error: unknown) => this.#fail(error));
    }
  }

  #run(client: WorldClient, callers: readonly WorkCaller[], isOver: () => boolean): void {
    const { scheduler, settings, links } = this.#world;
    const thinkMs = (this.clients.length * callers.length * 1_000) / OPERATIONS_A_SECOND;
    this.#running.add(client);
    Promise.all(callers.map((caller) => caller.run(thinkMs, isOver))).then(
      () => this.#running.delete(client),
      (error: unknown) => this.#fail(error),
    );
    // One has to be there in the end.
    if (client === this.clients[0] || !this.#random.chance(KILLED)) return;
    scheduler.after(this.#random.float() * settings.faultyMs, () => {
      for (const caller of callers) caller.die();
      client.process.kill();
      links.processEnded(client.process, true);
      this.#dead.add(client);
      this.#running.delete(client);
      this.recorder.did(client.name, 'client killed', '');
    });
  }

  /** After the faults: who waits is served, what nobody keeps alive ends, and nothing is left. */
  async finish(): Promise<void> {
    const world = this.#world;
    if (!(await world.until(() => this.#running.size === 0, BOUND_MS)))
      throw new CheckFailure(
        'liveness',
        `${this.#running.size} callers of the coordination do not come to an end`,
      );
    const probes = LOCKS.map((plan) => this.#callers[0]!.probe(plan));
    await world.finish(Promise.all(probes), BOUND_MS, 'liveness', 'taking all locks');
    await this.#endObserving();
    await this.#endWatching();
    const living = this.clients.filter((client) => !this.#dead.has(client));
    const closing = Promise.all(living.map(({ holdfast }) => holdfast.close()));
    await world.finish(closing, BOUND_MS, 'liveness', 'closing clients');
    const isEmpty = () => this.leases.living.length === 0;
    if (!(await world.until(isEmpty, LEASE_BOUND_MS)))
      throw new CheckFailure('liveness', `leases ${this.leases.living.join(', ')} do not end`);
    const { locks, elections } = this.#model;
    for (const [name, { places }] of [...locks, ...elections])
      if (places.length > 0) throw new CheckFailure('locks', `${name} is held by nobody's lease`);
    this.locks.checkWrites();
    this.config.checkFailed();
  }

  /** Once all have resigned, that is what is observed. */
  async #endObserving(): Promise<void> {
    const isUnled = () =>
      ELECTIONS.every((name) => (this.#model.elections.get(name)?.places.length ?? 0) === 0) &&
      this.elections.believed.length === 0;
    if (!(await this.#world.until(isUnled, BOUND_MS))) {
      const believed = this.elections.believed.join(', ');
      throw new CheckFailure('observers', `somebody leads in the end; observed by ${believed}`);
    }
    this.#observing.abort();
  }

  /** Who watches was told of everything. */
  async #endWatching(): Promise<void> {
    const watchers = this.#watchers.filter((_, at) => !this.#dead.has(this.clients[at]!));
    const isCaughtUp = () => watchers.every((watcher) => watcher.isCaughtUp);
    if (!(await this.#world.until(isCaughtUp, BOUND_MS))) {
      const late = watchers.filter((watcher) => !watcher.isCaughtUp);
      throw new CheckFailure(
        'watches',
        `${late.join(', ')} was not told of all up to ${this.config.revision}`,
      );
    }
    for (const watcher of watchers) watcher.stop();
  }

  #fail(error: unknown): void {
    this.#world.fail(error as Error);
  }

  #onLeaseEnded(lease: bigint, hasExpired: boolean): void {
    this.recorder.did('leases', hasExpired ? 'lease expired' : 'lease ended', String(lease));
    this.leases.onEnded(lease, hasExpired);
  }

  #fastest(): number {
    return Math.max(...this.#world.nodes.map(({ fastest }) => fastest));
  }
}
