/** A follower that was away while thousands of values were written: snapshots, while callers go on. */
import { expect, test } from 'vitest';
import { MutationKind } from '../../node/kv/kv-command.ts';
import { HEADER_BYTES, PeerMessageKind } from '../../node/raft/peer-courier.ts';
import { decodePart, decodeRequest } from '../../node/raft/snapshot-parts.ts';
import { SmallCluster, type SmallNode } from './small-cluster.ts';

const VALUES = 3_000;
const VALUE_BYTES = 1_024;
const CALLERS = 64;
/** Each call's, of virtual time: nothing but the transfer holds it up. */
const DEADLINE_MS = 1_000;
const NO_BYTES = new Uint8Array(0);

/** Callers that put one value after the other through whoever leads. */
class Callers {
  acknowledged = 0;
  longestMs = 0;
  readonly failures: string[] = [];
  readonly #cluster: SmallCluster;
  #isStopped = false;

  constructor(cluster: SmallCluster) {
    this.#cluster = cluster;
  }

  /** Puts so many values, or until it is stopped. */
  async run(values: number): Promise<void> {
    let next = 0;
    const caller = async () => {
      for (let i = next++; i < values && !this.#isStopped; i = next++) await this.#put(`k${i % VALUES}`);
    };
    await Promise.all(Array.from({ length: CALLERS }, caller));
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #put(key: string): Promise<void> {
    const { world } = this.#cluster;
    const startMs = world.nowMs();
    const { kv, keyspaces } = this.#cluster.leaderOf(this.#cluster.groupOf(key))!.engine!;
    const mutation = {
      kind: MutationKind.put,
      key: Buffer.from(key),
      value: Buffer.alloc(VALUE_BYTES, key),
      ttlMs: undefined,
      expectedVersion: 0,
      expectedValue: NO_BYTES,
      delta: 0n,
    };
    const failure = await new Promise<string | undefined>((resolve) => {
      kv.mutate(keyspaces.get('default'), mutation, { identity: undefined, fence: undefined }, Infinity, {
        onDone: () => resolve(undefined),
        onError: ({ reason }) => resolve(reason),
      });
    });
    if (failure === undefined) this.acknowledged++;
    else this.failures.push(failure);
    this.longestMs = Math.max(this.longestMs, world.nowMs() - startMs);
  }
}

/** What is asked for of snapshots, and what is sent. */
class PartWatch {
  sent = 0;
  unasked = 0;
  mostAtOnce = 0;
  readonly #asked = new Set<string>();
  readonly #ended = new Set<number>();

  see(message: Uint8Array): void {
    const body = message.subarray(HEADER_BYTES);
    if (message[0] === PeerMessageKind.snapshotRequest) {
      const { group, part } = decodeRequest(body);
      if (!this.#ended.has(group)) this.#asked.add(`${group}/${part}`);
    }
    if (message[0] !== PeerMessageKind.snapshotPart) return;
    this.sent++;
    const { group, part, isLast } = decodePart(body);
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#asked.size);
    if (!this.#asked.delete(`${group}/${part}`)) this.unasked++;
    // What is asked for next is nothing: it says that all has come.
    if (isLast) this.#ended.add(group);
  }
}

/** Entries that a node lacks, of the group of which it lacks most, as the leaders say. */
function lagOf(cluster: SmallCluster, { member }: SmallNode): number {
  const lags = cluster.nodes.flatMap(({ engine }) =>
    (engine?.host.replicas ?? [])
      .filter(({ isLeader }) => isLeader)
      .map(({ core: { status } }) => status.lastIndex - (status.followers.get(member.id)?.match ?? Infinity)),
  );
  return Math.max(...lags);
}

test('callers go on, each within its deadline, and no part of a snapshot is sent unasked', async () => {
  const cluster = await SmallCluster.start('catch up');
  const { world } = cluster;
  await world.runFor(2_000);
  const away = cluster.nodes[2]!;
  await world.settle(away.engine!.host.handOverAll(), 10_000);
  cluster.crash(away);
  await cluster.until(() =>
    cluster.nodes[0]!.engine!.host.replicas.every(({ group }) => cluster.leaderOf(group)),
  );
  const loading = new Callers(cluster);
  await world.settle(loading.run(VALUES), 120_000);
  await world.runFor(3_000);
  expect([loading.acknowledged, loading.failures]).toEqual([VALUES, []]);

  const parts = new PartWatch();
  cluster.network.observe = (_, __, message) => parts.see(message);
  await cluster.open(away);
  const steady = new Callers(cluster);
  const running = steady.run(Infinity);
  const groups = cluster.nodes[0]!.engine!.host.replicas.length - 1;
  const isBack = () => away.engine!.host.snapshots.received >= groups && lagOf(cluster, away) <= CALLERS;
  const startMs = world.nowMs();
  await cluster.until(isBack, 60_000);
  const tookMs = Math.round(world.nowMs() - startMs);
  steady.stop();
  await world.settle(running, 10_000);
  await cluster.until(() => lagOf(cluster, away) === 0, 10_000);
  console.log(
    `${tookMs} ms, ${steady.acknowledged} writes meanwhile, longest ${Math.round(steady.longestMs)} ms`,
    parts,
  );
  expect(steady.failures).toEqual([]);
  expect(steady.acknowledged).toBeGreaterThan(CALLERS);
  expect(steady.longestMs).toBeLessThan(DEADLINE_MS);
  expect(parts.sent).toBeGreaterThan(groups);
  expect(parts.unasked).toBe(0);
  // Two senders, of four transfers each, and of each one part at a time.
  expect(parts.mostAtOnce).toBeLessThanOrEqual(8);
  expect(cluster.nodes.flatMap(({ failures }) => failures)).toEqual([]);
}, 60_000);
