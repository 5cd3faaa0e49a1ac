/** How long a client that writes to a partition cannot, when the node that leads it is killed. */
import type { Holdfast } from '@holdfast/client';
import type { RealCluster } from './real-cluster.ts';
import { within } from './real-node.ts';

const KEYSPACE = 'default';
const KEY = 'failover';
const CALL_MS = 30_000;

/** Writes one key, one write after the other, for as long as it lives. */
class Writer {
  writes = 0;
  readonly #client: Holdfast;
  readonly #running: Promise<void>;
  #isOver = false;
  #onWritten: () => void = () => undefined;

  constructor(client: Holdfast) {
    this.#client = client;
    this.#running = this.#write();
  }

  /** Resolves with the next write that is acknowledged. */
  next(): Promise<void> {
    const written = new Promise<void>((resolve) => {
      this.#onWritten = resolve;
    });
    return within(Promise.race([written, this.#running]), CALL_MS, () => 'no write succeeds any more');
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#running;
  }

  async #write(): Promise<void> {
    const kv = this.#client.keyspace(KEYSPACE);
    while (!this.#isOver) {
      await kv.put(KEY, `${this.writes}`, { timeout: CALL_MS });
      this.writes++;
      this.#onWritten();
    }
  }
}

/**
 * Kills whoever leads, again and again; by kill the milliseconds until the next write of a
 * client that had been writing was acknowledged. `onKill` is told each.
 */
export async function measureKills(
  cluster: RealCluster,
  kills: number,
  onKill: (leader: string, ms: number) => void = () => undefined,
): Promise<number[]> {
  const client = await cluster.connect();
  const group = await cluster.groupOf(client, KEYSPACE, KEY);
  const writer = new Writer(client);
  const gaps: number[] = [];
  for (let kill = 0; kill < kills; kill++) {
    for (let write = 0; write < 20; write++) await writer.next();
    const leader = await cluster.leaderOf(group);
    const killedMs = performance.now();
    await cluster.node(leader).kill(); // what it had answered before has arrived by then
    await writer.next();
    const ms = performance.now() - killedMs;
    gaps.push(ms);
    onKill(leader, ms);
    await cluster.restart(leader);
  }
  await writer.end();
  return gaps;
}
