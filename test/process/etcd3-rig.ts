/**
 * Three real nodes, clients of the npm package `etcd3`, and workers that go on while leaders are
 * killed. What a client repeats by itself may have been done before: so workers do what may be
 * done twice, or can tell whether it was.
 */
import type { Etcd3 as Client, IOptions } from 'etcd3';
import { COORDINATION_GROUP } from '../../node/raft/members.ts';
import { Etcd3, EtcdLockFailedError, GRPCUnavailableError } from './etcd3-client.ts';
import { RealCluster, type RealClusterOptions } from './real-cluster.ts';
import { until } from './real-node.ts';

const GROUP = BigInt(COORDINATION_GROUP);
/** By then a call has been answered, whatever was killed. */
const PATIENCE_MS = 30_000;
const AGAIN_MS = 50;

export type { Client };

export class Etcd3Rig implements AsyncDisposable {
  readonly cluster: RealCluster;
  readonly #clients: Client[] = [];
  #kills = 0;
  #repeats = 0;
  #rounds = 0;

  private constructor(cluster: RealCluster) {
    this.cluster = cluster;
  }

  static async start(options: RealClusterOptions = {}): Promise<Etcd3Rig> {
    return new Etcd3Rig(await RealCluster.start(options));
  }

  /** Leaders of group 0 that were killed. */
  get kills(): number {
    return this.#kills;
  }

  /** What was done so far, for those who read what a test prints. */
  get account(): string {
    return `${this.#kills} nodes killed, ${this.#rounds} rounds of work, ${this.#repeats} calls sent again`;
  }

  /** A client of all nodes, which ends with the rig at the latest. */
  client(options: Partial<IOptions> = {}): Client {
    const client = new Etcd3({ hosts: this.cluster.endpoints, ...options });
    this.#clients.push(client);
    return client;
  }

  /** kill -9 of who leads; resolves when another one does and the first is back and has caught up. */
  async killLeader(): Promise<void> {
    await this.killNode(await this.cluster.leaderOf(GROUP));
  }

  /** The same of any node. */
  async killNode(name: string): Promise<void> {
    await this.cluster.node(name).kill();
    this.#kills++;
    await this.cluster.leaderOf(
      GROUP,
      this.cluster.names.filter((other) => other !== name),
    );
    await this.cluster.restart(name);
  }

  /**
   * Has each worker work round after round while `kills` runs, which is given a function that
   * waits until each has done `rounds` more; the number of rounds of all of them.
   */
  async working(
    workers: readonly (() => Promise<void>)[],
    kills: (rounds: (rounds: number) => Promise<void>) => Promise<void>,
  ): Promise<number> {
    const done = workers.map(() => 0);
    let isOver = false;
    const work = Promise.all(
      workers.map(async (worker, at) => {
        while (!isOver) {
          await worker();
          done[at]!++;
        }
      }),
    );
    const progress = (rounds: number) => {
      const wanted = done.map((count) => count + rounds);
      return until(
        () => done.every((count, at) => count >= wanted[at]!),
        PATIENCE_MS,
        () => `rounds ${done.join(', ')} of ${wanted.join(', ')}`,
      );
    };
    try {
      await Promise.race([work, kills(progress)]);
    } finally {
      isOver = true;
    }
    await work;
    const rounds = done.reduce((sum, count) => sum + count, 0);
    this.#rounds += rounds;
    return rounds;
  }

  /** `working` through so many killed leaders, with `rounds` before, between and after. */
  throughKills(kills: number, rounds: number, workers: readonly (() => Promise<void>)[]): Promise<number> {
    return this.working(workers, async (progress) => {
      for (let kill = 0; kill < kills; kill++) {
        await progress(rounds);
        await this.killLeader();
      }
      await progress(rounds);
    });
  }

  /** Repeats what finds no node that can do it: the client itself gives up after a few attempts. */
  async patiently<T>(work: () => Promise<T>): Promise<T> {
    const endMs = performance.now() + PATIENCE_MS;
    for (;;)
      try {
        return await work();
      } catch (error) {
        if (!isAway(error) || performance.now() > endMs) throw error;
        this.#repeats++;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
  }

  /**
   * Does something with a lock that nobody else wants. One that was taken and not told so the client
   * asks for again, and finds its own key there, until its lease has ended.
   */
  async alone(lock: () => Promise<unknown>): Promise<void> {
    const endMs = performance.now() + PATIENCE_MS;
    for (;;)
      try {
        return void (await this.patiently(lock));
      } catch (error) {
        if (!(error instanceof EtcdLockFailedError) || performance.now() > endMs) throw error;
        this.#repeats++;
      }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.cluster[Symbol.asyncDispose]();
  }
}

/** Whether no node could do it, or the client does not ask any as none could before. */
function isAway(error: unknown): boolean {
  return error instanceof GRPCUnavailableError || (error as object).constructor.name === 'BrokenCircuitError';
}
