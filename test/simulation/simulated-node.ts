/**
 * One node's engine on simulated ports, from one seed: starts, is crashed at a chosen
 * place, and is started again on what the crash left.
 */
import type { AuthSettings } from '../../node/coordination/auth.ts';
import type { HistoryLimits } from '../../node/coordination/coordination-upkeep.ts';
import { openEngine, type Engine } from '../../node/main/engine.ts';
import type { PasswordHash } from '../../node/runtime/scrypt.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedDisk } from '../../node/runtime/simulated/simulated-disk.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { SimulatedOrderedStore, SimulatedStoreMedium } from '../../node/runtime/simulated/simulated-store.ts';
import type { CrashPolicy } from '../../node/runtime/simulated/crash-policy.ts';

export const SEGMENT_BYTES = 256 * 1024;

/** How a simulated node is set up. */
export interface NodeSettings {
  readonly segmentBytes?: number;
  readonly minFreeBytes?: number;
  readonly queueBytes?: number;
  readonly quotaBytes?: number;
  readonly history?: Partial<HistoryLimits>;
  readonly auth?: AuthSettings;
  readonly passwordHash?: PasswordHash;
  /** Least and most time of a read of the store. */
  readLatencyMs?: readonly [number, number];
}

export class SimulatedNode {
  readonly world: SimulatedScheduler;
  readonly random: SeededRandom;
  readonly medium: SimulatedStoreMedium;
  readonly settings: NodeSettings;
  process: SimulatedProcess;
  disk: SimulatedDisk;
  store: SimulatedOrderedStore | undefined;
  clock: SimulatedClock;
  engine: Engine | undefined;
  failures: { cause: string; error: Error }[] = [];

  constructor(seed: string | number, settings: NodeSettings = {}, world = new SimulatedScheduler()) {
    this.world = world;
    this.random = new SeededRandom(seed);
    this.settings = settings;
    this.medium = new SimulatedStoreMedium();
    this.process = new SimulatedProcess(world);
    this.disk = new SimulatedDisk(this.process, this.random.fork('disk'));
    this.clock = new SimulatedClock(this.process, { wallStartMs: 1_760_000_000_000 });
  }

  /** Opens the engine on what is there. */
  async start(): Promise<Engine> {
    this.engine = undefined;
    const { segmentBytes = SEGMENT_BYTES, minFreeBytes = 0, queueBytes = 64 * 1024 * 1024 } = this.settings;
    const { quotaBytes, history, auth, passwordHash } = this.settings;
    this.engine = await openEngine({
      disk: this.disk,
      verifyStore: async () => [],
      verifyNextFile: async () => undefined,
      openStore: async () => {
        this.store = new SimulatedOrderedStore(this.process, this.random.fork('store'), this.medium, {
          ...(this.settings.readLatencyMs && { readLatencyMs: this.settings.readLatencyMs }),
        });
        return this.store;
      },
      clock: this.clock,
      random: this.random.fork('identity'),
      nodeName: 'n1',
      segmentBytes,
      minFreeBytes,
      queueBytes,
      ...(quotaBytes !== undefined && { quotaBytes }),
      ...(history && { history }),
      ...(auth && { auth }),
      ...(passwordHash && { passwordHash }),
      onFailure: (cause, error) => this.failures.push({ cause, error }),
    });
    return this.engine;
  }

  /** Starts, running the world until that is done. */
  run<T>(work: Promise<T>, withinMs = 120_000): Promise<T> {
    return this.world.settle(work, withinMs);
  }

  /** Power loss: what was not synced is kept or lost by `policy`. The node can then be started again. */
  crash(policy: CrashPolicy = 'seeded'): void {
    this.process.kill();
    this.store?.crash(policy);
    this.process = new SimulatedProcess(this.world);
    this.disk = this.disk.crash(policy, this.process);
    this.clock = new SimulatedClock(this.process, { wallStartMs: 1_760_000_000_000 });
    this.store = undefined;
    this.engine = undefined;
  }
}
