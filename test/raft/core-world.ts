/**
 * A group of `RaftCore`s, their disks and a bad network, all from one seed: first with
 * faults, then without, when a leader and everybody's catching up are due within a bound.
 * Time goes in rounds of one tick. Safety is checked at every step (`CoreChecks`).
 */
import { between } from '../../client/random.ts';
import { isJoint, isVoter, members, type ConfigurationChange } from '../../node/raft/core/configuration.ts';
import { ENTRY_VERSION, EntryKind, type Entry } from '../../node/raft/core/entry.ts';
import { decodeEnvelope, encodeEnvelope } from '../../node/raft/core/message-codec.ts';
import type { InstallSnapshot, Message } from '../../node/raft/core/messages.ts';
import type { SnapshotPoint } from '../../node/raft/core/raft-log.ts';
import type { Ready, ReadState } from '../../node/raft/core/ready.ts';
import { resolveSettings } from '../../node/raft/core/settings.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { CheckFailure } from './check-failure.ts';
import { CoreChecks } from './core-checks.ts';
import {
  CoreHost,
  emptyDisk,
  initialDisk,
  type CoreDisk,
  type HostEvents,
  type MachineState,
} from './core-host.ts';

const FAULTY_ROUNDS = 300;
/** Ticks after the faults within which everything has to be well again, and for each entry that somebody may lack. */
const RECOVERY_ROUNDS = 150;
const RECOVERY_ROUNDS_PER_ENTRY = 1;
const MAX_LIVE = 6;

/** How much a run did; a run that did next to nothing proves nothing. */
export interface WorldReport {
  rounds: number;
  delivered: number;
  lost: number;
  repeated: number;
  proposed: number;
  refused: number;
  acknowledged: number;
  reads: number;
  readsDropped: number;
  terms: number;
  committed: number;
  crashes: number;
  pauses: number;
  partitions: number;
  changes: number;
  transfers: number;
  snapshots: number;
  /** Entries cut off. */
  truncated: number;
  /** Writes under way when what they hold was cut off. */
  overtaken: number;
  compactions: number;
  /** Rounds after the faults until all was well. */
  recovery: number;
}

/** Rates of one run, drawn from its seed. */
interface Rates {
  readonly loss: number;
  readonly repeat: number;
  readonly maxDelay: number;
  readonly diskDelay: number;
  readonly stall: number;
  readonly lateTurn: number;
  readonly notAtHand: number;
  readonly crash: number;
  readonly pause: number;
  readonly partition: number;
  readonly heal: number;
  readonly campaign: number;
  readonly change: number;
  readonly transfer: number;
  readonly propose: number;
  readonly read: number;
}

interface Flight {
  readonly due: number;
  readonly bytes: Uint8Array;
  readonly rows: MachineState | undefined;
}

interface Slot {
  readonly id: number;
  disk: CoreDisk;
  host: CoreHost | undefined;
  /** Round in which its disk is done with what it has. */
  diskDue: number;
  downUntil: number;
  /** Stopped for a while, without knowing. */
  pausedUntil: number;
  clockMs: number;
  /** Share of ticks that it takes: clocks run apart. */
  readonly pace: number;
}

export class CoreWorld implements HostEvents {
  readonly report: WorldReport;
  readonly #random: SeededRandom;
  readonly #rates: Rates;
  readonly #settings;
  readonly #checks: CoreChecks;
  readonly #slots = new Map<number, Slot>();
  #flights: Flight[] = [];
  #cut = new Set<string>();
  #round = 0;
  #isFaulty = true;
  #nextId: number;
  #nextContext = 1;
  #nextValue = 1;
  /** The last entry that anybody has applied, and the members as of it. */
  #latest: SnapshotPoint;
  /** Everybody who was ever a member. */
  readonly #joined = new Set<number>();
  #proof: { readonly index: number; readonly term: number } | undefined;
  /** Proposals of each process that wait to be applied, by index. */
  readonly #proposals = new WeakMap<CoreHost, Map<number, number>>();

  constructor(seed: string) {
    this.#random = new SeededRandom(seed);
    this.#rates = drawRates(this.#random.fork('rates'));
    this.#settings = resolveSettings(drawSettings(this.#random.fork('settings')));
    this.#checks = new CoreChecks(this.#settings);
    const voters = Array.from(
      { length: pick(this.#random, 1, 2, 3, 3, 3, 5, 5) },
      (_, position) => position + 1,
    );
    this.#nextId = voters.length + 1;
    this.report = emptyReport();
    this.#latest = initialDisk(voters).base;
    for (const id of voters) this.#add(id, initialDisk(voters));
  }

  /** Runs both phases; throws what a check found. */
  run(): WorldReport {
    while (this.#round < FAULTY_ROUNDS) this.#playRound();
    this.#endFaults();
    const ended = this.#round;
    const longest = Math.max(...this.#live().map(({ host }) => host.core.status.lastIndex));
    const bound = RECOVERY_ROUNDS + RECOVERY_ROUNDS_PER_ENTRY * longest;
    while (!this.#isWell()) {
      if (this.#round - ended >= bound)
        throw new CheckFailure('liveness', `not well ${bound} ticks after the faults: ${this.#describe()}`);
      this.#playRound();
      this.#proposeProof();
    }
    this.report.recovery = this.#round - ended;
    this.report.rounds = this.#round;
    this.report.terms = this.#checks.terms;
    this.report.committed = this.#checks.committedCount;
    this.report.truncated = this.#checks.truncated;
    return this.report;
  }

  onSend(host: CoreHost, message: Message): void {
    this.#checks.onSend(host, message);
    this.#launch(message, undefined);
  }

  onReady(host: CoreHost, ready: Ready): void {
    if (ready.write?.entries[0] !== undefined && ready.write.entries[0].index <= host.core.status.durable)
      throw new CheckFailure('durable counts', `${host.id} counts ${host.core.status.durable} durable`);
    const first = ready.write?.entries[0]?.index ?? Infinity;
    if (host.writes.some(({ entries }) => (entries.at(-1)?.index ?? 0) >= first)) this.report.overtaken++;
    this.#checks.onReady(host, ready);
  }

  onApplied(host: CoreHost, entry: Entry): void {
    this.#checks.onApplied(host, entry);
    const proposals = this.#proposals.get(host)!;
    const term = proposals.get(entry.index);
    proposals.delete(entry.index);
    if (term !== entry.term) return;
    this.report.acknowledged++;
    this.#checks.onAcknowledged(entry.index);
  }

  onRead(host: CoreHost, read: ReadState): void {
    this.report.reads++;
    this.#checks.onRead(host, read);
  }

  onReadDropped(_host: CoreHost, context: number): void {
    this.report.readsDropped++;
    this.#checks.onReadDropped(context);
  }

  onSnapshot(host: CoreHost, message: InstallSnapshot, rows: MachineState): void {
    this.report.snapshots++;
    const isLost = this.#isFaulty && this.#random.chance(0.2);
    if (isLost || !this.#launch(message, rows)) host.core.reportSnapshot(message.to, false);
    else host.core.reportSnapshot(message.to, true);
  }

  #playRound(): void {
    this.#round++;
    if (this.#isFaulty) this.#playFaults();
    this.#playClients();
    for (const { host, pace } of this.#live()) {
      if (!this.#isFaulty || this.#random.chance(pace)) host.core.tick(this.#clock(host.id));
      this.#turn(host);
    }
    for (let pass = 0; pass < 4; pass++) this.#playDeliveries();
    for (const { host } of this.#live()) this.#turn(host, true);
  }

  #playDeliveries(): void {
    const due = this.#flights.filter((flight) => flight.due <= this.#round);
    this.#flights = this.#flights.filter((flight) => flight.due > this.#round);
    shuffle(this.#random, due);
    for (const flight of due) this.#deliver(flight);
    for (const slot of this.#live()) {
      this.#playDisk(slot);
      if (this.#random.chance(0.7)) slot.host.apply(this.#isFaulty ? between(this.#random, 0, 8) : undefined);
      this.#turn(slot.host);
    }
  }

  #playDisk(slot: Slot & { host: CoreHost }): void {
    if (slot.host.writes.length === 0 || slot.diskDue > this.#round) return;
    slot.host.persist(this.#isFaulty ? between(this.#random, 1, slot.host.writes.length) : undefined);
    slot.diskDue = this.#isFaulty ? this.#round + between(this.#random, 0, this.#rates.diskDelay) : 0;
  }

  #deliver({ bytes, rows }: Flight): void {
    const { message } = decodeEnvelope(bytes)[0]!;
    const slot = this.#slots.get(message.to);
    if (slot !== undefined && slot.pausedUntil > this.#round) {
      this.#flights.push({ bytes, rows, due: slot.pausedUntil });
      return;
    }
    if (slot?.host === undefined || this.#cut.has(`${message.from}>${message.to}`)) {
      this.report.lost++;
      return;
    }
    this.report.delivered++;
    if (message.type === 'snapshot') slot.host.receiveSnapshot(message, rows!);
    else slot.host.core.step(message);
    this.#turn(slot.host);
  }

  /** Returns whether the message is on its way. */
  #launch(message: Message, rows: MachineState | undefined): boolean {
    const { loss, repeat, maxDelay } = this.#rates;
    if (this.#isFaulty && this.#random.chance(loss)) {
      this.report.lost++;
      return false;
    }
    const bytes = Uint8Array.from(encodeEnvelope([{ group: 1, message }]));
    const delay = () => (this.#isFaulty && this.#random.chance(0.3) ? between(this.#random, 0, maxDelay) : 0);
    this.#flights.push({ due: this.#round + delay(), bytes, rows });
    if (this.#isFaulty && this.#random.chance(repeat)) {
      this.report.repeated++;
      this.#flights.push({ due: this.#round + delay() * 3, bytes, rows });
    }
    return true;
  }

  /** A late turn lets several inputs share one. */
  #turn(host: CoreHost, isCertain = false): void {
    if (this.#isFaulty && !isCertain && this.#random.chance(this.#rates.lateTurn)) return;
    host.turn();
  }

  #playFaults(): void {
    const { crash, pause, partition } = this.#rates;
    for (const slot of this.#slots.values()) {
      if (slot.host === undefined && this.#round >= slot.downUntil) this.#start(slot);
      else if (slot.host !== undefined && this.#random.chance(crash)) this.#crash(slot);
      else if (this.#random.chance(pause * (slot.host?.core.isLeader === true ? 4 : 1))) this.#pause(slot);
    }
    this.#endRemoved();
    if (this.#random.chance(partition)) this.#partition();
    else if (this.#random.chance(this.#rates.heal)) this.#cut.clear();
    for (const { host } of this.#live()) {
      if (this.#random.chance(this.#rates.stall)) this.#slots.get(host.id)!.diskDue = this.#round + 40;
      if (this.#random.chance(0.1)) host.flush();
      if (this.#random.chance(0.03)) this.#compact(host);
      if (this.#random.chance(this.#rates.campaign)) host.core.campaign();
      if (this.#random.chance(0.01)) host.core.reportUnreachable(between(this.#random, 1, this.#nextId));
    }
  }

  #compact(host: CoreHost): void {
    const before = host.disk.base.index;
    host.compact(host.disk.stored.index - between(this.#random, 0, 10));
    if (host.disk.base.index > before) this.report.compactions++;
  }

  /** Cuts single links, each in one direction or both; or a few replicas off, often those around a leader. */
  #partition(): void {
    this.report.partitions++;
    this.#cut.clear();
    const ids = [...this.#slots.keys()];
    const leader = this.#live().find(({ host }) => host.core.isLeader)?.id;
    const size = this.#random.chance(0.5)
      ? between(this.#random, 1, Math.max(1, Math.floor(ids.length / 2)))
      : 0;
    shuffle(this.#random, ids);
    if (leader !== undefined && this.#random.chance(0.7))
      ids.sort((a, b) => Number(b === leader) - Number(a === leader));
    const away = new Set(ids.slice(0, size));
    for (const from of ids) {
      for (const to of ids) {
        const isCut = size > 0 ? away.has(from) !== away.has(to) : this.#random.chance(0.3);
        if (isCut && from !== to) this.#cut.add(`${from}>${to}`);
      }
    }
  }

  #playClients(): void {
    const { propose, read, change, transfer } = this.#rates;
    for (const { host } of this.#live()) {
      if (this.#isFaulty && this.#random.chance(host.core.isLeader ? propose : propose / 20))
        this.#propose(host);
      if (this.#random.chance(read)) this.#read(host);
      if (!host.core.isLeader || !this.#isFaulty) continue;
      if (this.#random.chance(change)) this.#change(host);
      if (this.#random.chance(transfer)) this.#transfer(host);
    }
  }

  #propose(host: CoreHost): number | undefined {
    const entries = Array.from({ length: between(this.#random, 1, 4) }, () => ({
      kind: this.#random.chance(0.1) ? EntryKind.time : EntryKind.commands,
      version: ENTRY_VERSION,
      payload: Buffer.alloc(between(this.#random, 8, 120), String(this.#nextValue++)),
    }));
    const result = host.core.propose(entries, this.#clock(host.id));
    if (result.refused !== undefined) {
      this.report.refused++;
      return undefined;
    }
    this.report.proposed += entries.length;
    for (let i = 0; i < entries.length; i++) this.#proposals.get(host)!.set(result.index + i, result.term);
    return result.index;
  }

  #read(host: CoreHost): void {
    const context = this.#nextContext++;
    this.#checks.onReadAsked(context);
    if (!host.core.readIndex(context)) this.#checks.onReadDropped(context);
  }

  #change(host: CoreHost): void {
    const { voters, learners } = host.core.configuration;
    const changes: ConfigurationChange[] = [];
    const add = this.#random.chance(0.5) || voters.length < 2;
    if (add && this.#slots.size < MAX_LIVE) {
      const type = this.#random.chance(0.5) ? 'add voter' : 'add learner';
      changes.push({ type, replica: this.#nextId });
    }
    const learner = learners[0];
    if (learner !== undefined && this.#random.chance(0.5))
      changes.push({ type: 'add voter', replica: learner });
    if (voters.length > 1 && this.#random.chance(0.5)) {
      const replica = voters[between(this.#random, 0, voters.length - 1)]!;
      changes.push({ type: this.#random.chance(0.2) ? 'add learner' : 'remove', replica });
    }
    const result = host.core.changeConfiguration(changes);
    if (result.refused !== undefined) return;
    this.report.changes++;
    if (changes.some(({ replica }) => replica === this.#nextId)) this.#add(this.#nextId++, emptyDisk());
  }

  #transfer(host: CoreHost): void {
    const { voters } = host.core.configuration;
    const isRefused = this.#random.chance(0.3)
      ? !host.core.handOver()
      : host.core.transferLeader(voters[between(this.#random, 0, voters.length - 1)]!) !== undefined;
    if (!isRefused) this.report.transfers++;
  }

  #add(id: number, disk: CoreDisk): void {
    const clockMs = between(this.#random, -300, 300);
    const pace = pick(this.#random, 1, 0.95, 0.6);
    const slot: Slot = { id, disk, host: undefined, diskDue: 0, downUntil: 0, pausedUntil: 0, clockMs, pace };
    this.#slots.set(id, slot);
    this.#start(slot);
  }

  #start(slot: Slot): void {
    const random = this.#random.fork(`core ${slot.id} ${this.#round}`);
    slot.host = new CoreHost({
      id: slot.id,
      disk: slot.disk,
      random: () => random.float(),
      settings: this.#settings,
      events: this,
      isAtHand: () => !this.#isFaulty || !this.#random.chance(this.#rates.notAtHand),
    });
    this.#proposals.set(slot.host, new Map());
    this.#checks.onStart(slot.host);
  }

  #crash(slot: Slot): void {
    this.report.crashes++;
    slot.host!.crash(between(this.#random, 0, slot.host!.writes.length));
    slot.host = undefined;
    slot.downUntil = this.#round + between(this.#random, 0, 40);
  }

  /** Who was removed is ended after a while, as its node would be told to. */
  #endRemoved(): void {
    for (const { host } of this.#live()) {
      const { index, stampMs } = host.machine;
      const point = index > this.#latest.index ? host.core.snapshotPoint(index, stampMs) : undefined;
      if (point === undefined) continue;
      this.#latest = point;
      for (const member of members(point.configuration)) this.#joined.add(member);
    }
    const { configuration } = this.#latest;
    for (const id of this.#slots.keys()) {
      const isRemoved = this.#joined.has(id) && !members(configuration).includes(id);
      if (isRemoved && this.#random.chance(0.03)) this.#slots.delete(id);
    }
  }

  #pause(slot: Slot): void {
    this.report.pauses++;
    slot.pausedUntil = this.#round + between(this.#random, 5, 40);
  }

  /** From here on everybody is up and connected. */
  #endFaults(): void {
    this.#isFaulty = false;
    for (const slot of this.#slots.values()) slot.pausedUntil = 0;
    this.#cut.clear();
    for (const slot of this.#slots.values()) if (slot.host === undefined) this.#start(slot);
  }

  /** Something new to be committed, under every leader that there is after the faults. */
  #proposeProof(): void {
    const leader = this.#latestLeader();
    if (leader === undefined || leader.core.term === this.#proof?.term) return;
    const index = this.#propose(leader);
    if (index !== undefined) this.#proof = { index, term: leader.core.term };
  }

  /** One leader, in whose term something was proposed that everybody in the group has applied. */
  #isWell(): boolean {
    const leader = this.#latestLeader();
    if (leader === undefined || leader.core.term !== this.#proof?.term) return false;
    const { configuration } = leader.core;
    if (isJoint(configuration) || !isVoter(configuration, leader.id)) return false;
    return members(configuration).every((member) => {
      const { core, machine } = this.#slots.get(member)!.host!;
      return core.leader === leader.id && machine.index >= this.#proof!.index;
    });
  }

  #latestLeader(): CoreHost | undefined {
    const leaders = this.#live().filter(({ host }) => host.core.isLeader);
    return leaders.sort((a, b) => b.host.core.term - a.host.core.term)[0]?.host;
  }

  #live(): (Slot & { host: CoreHost })[] {
    const isLive = (slot: Slot): slot is Slot & { host: CoreHost } =>
      slot.host !== undefined && slot.pausedUntil <= this.#round;
    return [...this.#slots.values()].filter(isLive);
  }

  #clock(id: number): number {
    return 1_000_000 + this.#round * 50 + this.#slots.get(id)!.clockMs;
  }

  #describe(): string {
    return JSON.stringify(
      this.#live().map(({ host }) => ({ ...host.core.status, followers: [...host.core.status.followers] })),
      (key, value: unknown) => (key === 'window' ? undefined : value),
    );
  }
}

function pick(random: SeededRandom, ...values: number[]): number {
  return values[between(random, 0, values.length - 1)]!;
}

function drawRates(random: SeededRandom): Rates {
  return {
    loss: pick(random, 0, 0.02, 0.1, 0.25),
    repeat: pick(random, 0, 0.05, 0.2),
    maxDelay: pick(random, 0, 1, 4, 12),
    diskDelay: pick(random, 0, 1, 3, 8, 30),
    stall: pick(random, 0, 0.01, 0.03),
    lateTurn: pick(random, 0, 0.3, 0.8),
    notAtHand: pick(random, 0, 0.2),
    crash: pick(random, 0, 0.002, 0.01, 0.02),
    pause: pick(random, 0, 0.003, 0.01),
    partition: pick(random, 0, 0.02, 0.05, 0.1),
    heal: pick(random, 0.02, 0.08),
    campaign: pick(random, 0, 0, 0.02, 0.05),
    change: pick(random, 0, 0.05, 0.2),
    transfer: pick(random, 0, 0.005, 0.03),
    propose: pick(random, 0.1, 0.5, 1),
    read: pick(random, 0.02, 0.2),
  };
}

/** Small bounds, so that they are met. */
function drawSettings(random: SeededRandom) {
  return {
    electionTicks: pick(random, 4, 4, 10),
    heartbeatTicks: pick(random, 1, 2, 3),
    maxMessageBytes: pick(random, 1, 200, 4096),
    maxInflightMessages: pick(random, 1, 4, 64),
    maxInflightBytes: pick(random, 100, 1000, 100_000),
    maxUncommittedBytes: pick(random, 500, 5000, 1_000_000),
    maxApplyingBytes: pick(random, 1, 300, 10_000),
    maxPendingReads: pick(random, 4, 1000),
  };
}

function emptyReport(): WorldReport {
  return {
    rounds: 0,
    delivered: 0,
    lost: 0,
    repeated: 0,
    proposed: 0,
    refused: 0,
    acknowledged: 0,
    reads: 0,
    readsDropped: 0,
    terms: 0,
    committed: 0,
    crashes: 0,
    pauses: 0,
    partitions: 0,
    changes: 0,
    transfers: 0,
    snapshots: 0,
    truncated: 0,
    overtaken: 0,
    compactions: 0,
    recovery: 0,
  };
}

function shuffle<T>(random: SeededRandom, list: T[]): void {
  for (let at = list.length - 1; at > 0; at--) {
    const other = between(random, 0, at);
    [list[at], list[other]] = [list[other]!, list[at]!];
  }
}
