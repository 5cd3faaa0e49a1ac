/** A client of the world: the real client library in a simulated process. */
import { Holdfast } from '../../../client/holdfast.ts';
import type { Keyspace } from '../../../client/keyspace.ts';
import { resolveOptions } from '../../../client/options.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedProcess } from '../../../node/runtime/simulated/simulated-process.ts';
import { SimulatedTransport } from '../../../node/transport/simulated/simulated-transport.ts';
import type { NodeSurroundings } from './node-surroundings.ts';

export class WorldClient {
  readonly name: string;
  readonly process: SimulatedProcess;
  readonly clock: SimulatedClock;
  readonly holdfast: Holdfast;
  readonly #keyspaces = new Map<string, Keyspace>();
  #isPaused = false;
  #pausedAtMs = 0;
  #pausedMs = 0;
  #resumedAtMs = -Infinity;

  constructor(name: string, random: SeededRandom, around: NodeSurroundings) {
    const { scheduler, links, settings, members } = around;
    this.name = name;
    this.process = new SimulatedProcess(scheduler);
    this.clock = new SimulatedClock(this.process);
    const endpoints = rotated(
      members.map(({ address }) => address),
      random.u32(),
    );
    const transport = new SimulatedTransport({
      links,
      host: name,
      process: this.process,
      clock: this.clock,
      isPatient: endpoints.length === 1,
      windowBytes: settings.windowBytes,
      maxQueuedBytes: settings.maxQueuedBytes,
      routes: random.fork('routes').chance(settings.routing) ? '1' : undefined,
    });
    const { timeoutMs: timeout, gossip: discover } = settings;
    const options = resolveOptions({ endpoints, timeout, discover }, {});
    this.holdfast = new Holdfast(options, { clock: this.clock, random: random.fork('client'), transport });
  }

  keyspace(name: string): Keyspace {
    let keyspace = this.#keyspaces.get(name);
    if (keyspace === undefined) this.#keyspaces.set(name, (keyspace = this.holdfast.keyspace(name)));
    return keyspace;
  }

  /** Milliseconds by its clock during which it could run. */
  ranMs(): number {
    return this.clock.monotonicMs() - this.#pausedMs;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** It runs, and has had the time to do what became due while it did not. */
  get isAwake(): boolean {
    return !this.#isPaused && !this.process.isKilled && this.clock.monotonicMs() > this.#resumedAtMs;
  }

  pause(): void {
    this.#isPaused = true;
    this.#pausedAtMs = this.clock.monotonicMs();
    this.process.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#resumedAtMs = this.clock.monotonicMs();
    this.#pausedMs += this.#resumedAtMs - this.#pausedAtMs;
    this.process.resume();
  }
}

function rotated<T>(items: readonly T[], by: number): T[] {
  const start = by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}
