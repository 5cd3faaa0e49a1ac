/**
 * Sender and receiver of snapshots together: over a carrier that loses, repeats and
 * overtakes, with a receiver that is killed, and a leader that goes on writing.
 */
import { expect, test } from 'vitest';
import { NO_CONFIGURATION } from '../../node/raft/core/configuration.ts';
import type { InstallSnapshot } from '../../node/raft/core/messages.ts';
import { GroupReplica, snapshotEntry } from '../../node/raft/group-replica.ts';
import { decodePart, decodeRequest } from '../../node/raft/snapshot-parts.ts';
import { SnapshotReceiver } from '../../node/raft/snapshot-receiver.ts';
import { SnapshotSender } from '../../node/raft/snapshot-sender.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { SimulatedOrderedStore, SimulatedStoreMedium } from '../../node/runtime/simulated/simulated-store.ts';
import { binaryString, generationOf, groupPrefix } from '../../node/storage/row-key.ts';
import { NOTHING_APPLIED, RowStore, type AppliedEntry } from '../../node/storage/row-store.ts';

const GROUP = 7;
const MEMBERS = { voters: [1, 2], outgoing: [], learners: [] };
const WRITE_MS = 10;

type Content = ReadonlyMap<string, string>;

/** What may go wrong. */
interface Conditions {
  readonly drop: number;
  readonly repeat: number;
  readonly delayMs: number;
  /** Mean time between kills of the receiver, and between changes of the leader's rows. */
  readonly killEveryMs: number;
  readonly writeEveryMs: number;
}

const CALM: Conditions = { drop: 0, repeat: 0, delayMs: 1, killEveryMs: Infinity, writeEveryMs: Infinity };

class Leader {
  readonly rows: RowStore;
  readonly sender: SnapshotSender;
  readonly history = new Map<number, Content>();
  readonly reports: boolean[] = [];
  index = 0;
  term = 1;
  #isAsked = false;
  readonly #rig: Rig;
  readonly #random: SeededRandom;

  constructor(rig: Rig) {
    this.#rig = rig;
    this.#random = rig.random.fork('leader');
    const { world } = rig;
    const clock = new SimulatedClock(world);
    const store = new SimulatedOrderedStore(world, this.#random, new SimulatedStoreMedium());
    this.rows = openRows(store, clock, () => undefined);
    this.sender = new SnapshotSender({
      rows: this.rows,
      clock,
      offer: (_, message) => rig.carry(() => rig.follower.offer(message)),
      send: (_, part) => rig.carry(() => rig.follower.take(part)),
      wake: () => undefined,
      onFailure: (error) => rig.fail(error),
    });
  }

  /** Changes rows, and stores them as of the next entry. */
  async write(count: number): Promise<void> {
    const content = new Map(this.history.get(this.index));
    for (let i = 0; i < count; i++) {
      const name = `k${Math.floor(this.#random.float() * 400)}`;
      const row = `${groupPrefix(GROUP, 0)}d${name}`;
      if (this.#random.chance(0.2)) {
        this.rows.delete(row);
        content.delete(`d${name}`);
      } else {
        const value = `${this.index + 1}/${i} `.repeat(1 + Math.floor(this.#random.float() * 400));
        this.rows.put(row, Buffer.from(value));
        content.set(`d${name}`, value);
      }
    }
    this.history.set(++this.index, content);
    this.rows.applied(GROUP, { ...NOTHING_APPLIED, index: this.index, term: 1, stampMs: this.index });
    this.rows.startFlush();
    await this.rows.flushed();
  }

  /** From now on the follower is to have what is here, which the log no longer has: as a core that leads. */
  start(): void {
    const ask = () => {
      if (!this.#isAsked && this.#rig.follower.replica.applied.index < this.index) this.#ask();
      this.#rig.world.after(50, ask);
    };
    ask();
  }

  #ask(): void {
    this.#isAsked = true;
    const core = {
      snapshotFor: (_: number, index: number) => offerOf(index, this.term),
      reportSnapshot: (_: number, isDelivered: boolean) => {
        this.reports.push(isDelivered);
        this.#isAsked = false;
      },
    };
    this.sender.start({ group: GROUP, generation: 0, core } as unknown as GroupReplica, 2);
  }
}

class Follower {
  readonly medium = new SimulatedStoreMedium();
  replica!: GroupReplica;
  receiver!: SnapshotReceiver;
  rows!: RowStore;
  received = 0;
  kills = 0;
  readonly #rig: Rig;
  readonly #random: SeededRandom;
  #process!: SimulatedProcess;
  #store!: SimulatedOrderedStore;
  /** What its log says. */
  #logged: AppliedEntry | undefined;

  constructor(rig: Rig) {
    this.#rig = rig;
    this.#random = rig.random.fork('follower');
    this.#open();
  }

  /** The machine loses its power, and starts again. */
  restart(): void {
    this.kills++;
    this.received += this.receiver.received;
    this.#process.kill();
    this.#store.crash('seeded');
    this.#open();
    for (const generation of this.generations)
      if (generation !== this.replica.generation) void this.receiver.remove(GROUP, generation);
  }

  offer(message: InstallSnapshot): void {
    this.receiver.offer(this.replica, message);
    this.#pump();
  }

  take(part: Uint8Array): void {
    this.receiver.take(1, decodePart(part)).catch((error: unknown) => this.#rig.fail(error));
  }

  /** Generations that have rows on the disk. */
  get generations(): number[] {
    const found = new Set<number>();
    for (const row of this.#stored()) if (!row.endsWith('i') || row.length > 13) found.add(generationOf(row));
    return [...found];
  }

  /** Its rows as anybody would read them. */
  async content(): Promise<Content> {
    const prefix = groupPrefix(GROUP, this.replica.generation);
    const { rows } = await this.#rig.world.settle(this.rows.range(`${prefix}d`, `${prefix}e`, Infinity));
    return new Map(rows.map(([row, content]) => [row.slice(prefix.length), Buffer.from(content).toString()]));
  }

  #stored(): string[] {
    const prefix = Buffer.from(groupPrefix(GROUP, 0).slice(0, 8), 'latin1');
    const end = Buffer.from(prefix);
    end[7]!++;
    return this.medium.rows.slice(prefix, end, Infinity, false).map(([key]) => binaryString(key));
  }

  #open(): void {
    this.#process = new SimulatedProcess(this.#rig.world);
    const clock = new SimulatedClock(this.#process);
    this.#store = new SimulatedOrderedStore(this.#process, this.#random, this.medium);
    this.rows = openRows(this.#store, clock, (stored) => {
      const entry = stored.get(GROUP);
      for (const generation of entry === undefined ? [] : this.replica.noteStored(entry))
        void this.receiver.remove(GROUP, generation);
    });
    this.receiver = new SnapshotReceiver({
      rows: this.rows,
      clock,
      request: (_, request) =>
        this.#rig.carry(() => {
          const served = this.#rig.leader.sender.serve(2, decodeRequest(request));
          served.catch((error: unknown) => this.#rig.fail(error));
        }),
      wake: () => this.#pump(),
      onFailure: (error) => this.#rig.fail(error),
    });
    const stored = this.rows.stored(GROUP);
    const applied = this.#logged !== undefined && this.#logged.index > stored.index ? this.#logged : stored;
    this.replica = new GroupReplica({
      group: GROUP,
      self: 2,
      settings: {},
      random: () => 0.5,
      restored: {
        hardState: { term: 1, vote: 0 },
        applied,
        storedIndex: stored.index,
        configuration: NO_CONFIGURATION,
        entries: [],
      },
      onQueued: () => undefined,
      createMachine: () => ({
        apply: () => undefined,
        parse: () => undefined,
        encodeResult: () => new Uint8Array(0),
      }),
    });
    if (applied !== stored) this.rows.applied(GROUP, applied);
    const flush = () => {
      this.rows.startFlush();
      this.#process.after(300, flush);
    };
    flush();
  }

  /** As the host: what the core wants written is written, and then done. */
  #pump(): void {
    const { replica } = this;
    const write = replica.core.takeReady()?.write;
    if (write === undefined) return;
    this.#process.after(WRITE_MS, () => {
      if (write.snapshot !== undefined) {
        const { point, generation } = replica.receivedRows(write.snapshot);
        this.#logged = snapshotEntry(point, generation);
        this.rows.applied(GROUP, replica.install(write.snapshot));
      }
      replica.core.onPersisted(write.sequence);
      this.#pump();
    });
  }
}

class Rig {
  readonly world = new SimulatedScheduler();
  readonly random: SeededRandom;
  readonly leader: Leader;
  readonly follower: Follower;
  conditions: Conditions;
  carried = 0;
  readonly #link: SeededRandom;
  #failure: unknown;

  constructor(seed: string, conditions: Conditions = CALM) {
    this.random = new SeededRandom(seed);
    this.#link = this.random.fork('link');
    this.conditions = conditions;
    this.leader = new Leader(this);
    this.follower = new Follower(this);
  }

  carry(arrive: () => void): void {
    this.carried++;
    const { drop, repeat, delayMs } = this.conditions;
    if (this.#link.chance(drop)) return;
    for (let times = this.#link.chance(repeat) ? 2 : 1; times > 0; times--)
      this.world.after(delayMs * this.#link.float(), arrive);
  }

  fail(error: unknown): void {
    this.#failure ??= error;
  }

  /** Kills and writes by chance for a while; then nothing goes wrong any more. */
  async disturb(forMs: number): Promise<void> {
    const random = this.random.fork('disturb');
    const endMs = this.world.nowMs() + forMs;
    const { killEveryMs, writeEveryMs } = this.conditions;
    while (this.world.nowMs() < endMs) {
      await this.world.runFor(20);
      if (random.chance(20 / killEveryMs)) this.follower.restart();
      if (!random.chance(20 / writeEveryMs)) continue;
      await this.world.settle(this.leader.write(30));
      if (random.chance(0.3)) this.leader.term++;
      // A leader that has dropped entries meanwhile offers the rows as they are now.
      if (random.chance(0.7)) this.leader.sender.stop(GROUP);
    }
    this.conditions = { ...CALM, delayMs: this.conditions.delayMs };
  }

  /** Runs until the follower has what the leader has, and all is quiet. */
  async settle(): Promise<void> {
    const isDone = () => this.follower.replica.applied.index >= this.leader.index;
    const held = await this.world.runUntilTrue(() => this.#failure !== undefined || isDone(), 60_000);
    await this.world.runFor(15_000);
    if (this.#failure !== undefined) throw this.#failure as Error;
    expect(held).toBe(true);
  }
}

function openRows(
  store: SimulatedOrderedStore,
  clock: SimulatedClock,
  onFlushed: (stored: ReadonlyMap<number, AppliedEntry>) => void,
): RowStore {
  return new RowStore({
    store,
    clock,
    logSequence: () => 0,
    onFlushed: (_, stored) => onFlushed(stored),
    onFailure: (error) => expect.unreachable(error.message),
  });
}

function offerOf(index: number, term: number): InstallSnapshot {
  const snapshot = { index, term: 1, stampMs: index, configuration: MEMBERS };
  return { type: 'snapshot', from: 1, to: 2, term, snapshot };
}

/** The follower has the leader's rows as of its entry, in one generation, and nothing else. */
async function expectEqual({ follower, leader }: Rig): Promise<void> {
  const { index, generation } = follower.replica.applied;
  expect(await follower.content()).toEqual(leader.history.get(index));
  expect(follower.generations).toEqual([generation]);
}

test('rows arrive in parts, as of the entry of the offer, while the leader goes on', async () => {
  const rig = new Rig('plain');
  await rig.world.settle(rig.leader.write(800));
  rig.leader.start();
  await rig.world.runUntilTrue(() => rig.follower.generations.includes(1), 1_000);
  expect(rig.follower.replica.applied.index).toBe(0);
  void rig.leader.write(400);
  await rig.world.runUntilTrue(() => rig.follower.replica.applied.index > 0, 1_000);
  expect(rig.follower.replica.applied).toMatchObject({ index: 1, generation: 1 });
  expect(await rig.follower.content()).toEqual(rig.leader.history.get(1));
  await rig.settle();
  expect(rig.follower.replica.applied).toMatchObject({ index: 2, generation: 2 });
  await expectEqual(rig);
  expect(rig.leader.reports).toEqual([true, true]);
  expect([rig.leader.sender.sent, rig.follower.receiver.received]).toEqual([2, 2]);
  expect(rig.carried).toBeGreaterThan(4);
});

test('a follower has one transfer at a time, and none that was stopped before it began', async () => {
  const rig = new Rig('twice');
  await rig.world.settle(rig.leader.write(100));
  const reports: boolean[] = [];
  const core = {
    snapshotFor: (_: number, index: number) => offerOf(index, 1),
    reportSnapshot: (_: number, isDelivered: boolean) => reports.push(isDelivered),
  };
  const replica = { group: GROUP, generation: 0, core } as unknown as GroupReplica;
  void rig.leader.write(100); // what is opened waits for its flush
  for (let times = 0; times < 3; times++) rig.leader.sender.start(replica, 2);
  expect(reports).toEqual([false, false]);
  rig.leader.sender.stop(GROUP);
  await rig.world.runFor(100);
  expect([reports, rig.carried]).toEqual([[false, false, false], 0]);
  rig.leader.sender.start(replica, 2);
  await rig.world.runFor(100);
  expect([reports.at(-1), rig.follower.replica.applied.index]).toEqual([true, 2]);
});

test('a group without rows is a snapshot as well', async () => {
  const rig = new Rig('empty');
  await rig.world.settle(rig.leader.write(0));
  rig.leader.start();
  await rig.settle();
  expect(rig.follower.replica.applied.index).toBe(1);
  expect(rig.follower.generations).toEqual([]);
});

test('of a transfer that a newer offer replaces nothing is left, nor of its last part', async () => {
  let replaced = 0;
  for (let steps = 0; steps < 8; steps++) {
    const rig = new Rig('newer', { ...CALM, delayMs: 8 });
    await rig.world.settle(rig.leader.write(800));
    rig.leader.start();
    await rig.world.runUntilTrue(() => rig.follower.generations.includes(1), 1_000);
    await rig.world.settle(rig.leader.write(10));
    await rig.world.runFor(steps / 2);
    rig.leader.sender.stop(GROUP);
    await rig.settle();
    expect(rig.follower.replica.generation).toBe(2);
    if (rig.follower.receiver.received === 1) replaced++;
    await expectEqual(rig);
  }
  expect(replaced).toBeGreaterThan(2);
});

test('a sender that falls silent is given up, and what came so far goes', async () => {
  const rig = new Rig('silent');
  await rig.world.settle(rig.leader.write(800));
  rig.leader.start();
  await rig.world.runUntilTrue(() => rig.follower.generations.includes(1), 1_000);
  rig.conditions = { ...CALM, drop: 1 };
  await rig.world.runFor(2_000);
  expect(rig.follower.receiver.isFilling(GROUP, 1)).toBe(true);
  await rig.world.runFor(6_000);
  expect(rig.follower.receiver.isFilling(GROUP, 1)).toBe(false);
  expect(rig.follower.generations).toEqual([]);
  await rig.world.runFor(3_000);
  expect(rig.leader.reports.slice(0, 1)).toEqual([false]);
});

test('a part from somebody else, or of another snapshot, is not taken', async () => {
  const rig = new Rig('foreign');
  await rig.world.settle(rig.leader.write(100));
  rig.leader.start();
  await rig.world.runFor(2);
  const { receiver } = rig.follower;
  const part = { group: GROUP, index: 1, term: 1, part: 0, isLast: true, rows: [] };
  await rig.world.settle(receiver.take(3, part));
  await rig.world.settle(receiver.take(1, { ...part, index: 2 }));
  await rig.world.settle(receiver.take(1, { ...part, term: 2 }));
  await rig.world.settle(receiver.take(1, { ...part, part: 5 }));
  await rig.world.settle(receiver.take(1, { ...part, group: 8 }));
  await rig.settle();
  await expectEqual(rig);
});

const SEEDS = Array.from({ length: 40 }, (_, seed) => seed);

test.each([
  ['loss', { drop: 0.2, repeat: 0, delayMs: 10 }],
  ['repeats and overtaking', { drop: 0.02, repeat: 0.5, delayMs: 60 }],
  ['newer offers', { drop: 0.05, repeat: 0.1, delayMs: 20, writeEveryMs: 150 }],
  ['kills', { drop: 0.02, repeat: 0.1, delayMs: 10, killEveryMs: 200 }],
  ['everything', { drop: 0.1, repeat: 0.2, delayMs: 40, killEveryMs: 700, writeEveryMs: 300 }],
])(
  'with %s the rows are equal in the end, and nothing else is left',
  { timeout: 120_000 },
  async (name, change) => {
    let kills = 0;
    for (const seed of SEEDS.slice(0, name === 'everything' ? 40 : 15)) {
      const rig = new Rig(`${name} ${seed}`, { ...CALM, ...change });
      await rig.world.settle(rig.leader.write(500));
      rig.leader.start();
      await rig.disturb(2_500);
      await rig.settle().catch((error: unknown) => {
        throw new Error(`seed ${seed}`, { cause: error });
      });
      await expectEqual(rig);
      kills += rig.follower.kills;
    }
    if ('killEveryMs' in change) expect(kills).toBeGreaterThan(20);
  },
);
