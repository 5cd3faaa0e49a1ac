/**
 * Which nodes are there: SWIM ("SWIM: Scalable Weakly-consistent Infection-style Process Group
 * Membership Protocol", Das, Gupta and Motivala, 2002) with the refinements of Lifeguard (Dadgar,
 * Phillips and Currey, 2018). Pure: messages, ticks, and what this node wants come in; messages
 * and changes come out. What it finds says who seems alive, never who owns what.
 *
 *  1. Nothing is taken from another cluster, from an earlier run of a node than is known, or by a
 *     run that has learned of a later one of its own name.
 *  2. A message has news of `maxNewsBytes` at most, and a Sync nodes of `maxSyncBytes`; how many
 *     messages a node sends in a second does not depend on how many nodes there are.
 *  3. Who is suspected or taken for dead is told so in every message to it, before all else; and
 *     whoever says that of a node that lives is told otherwise by it, though all others have
 *     stopped telling.
 *  4. Time passes by ticks alone, and counts for no more than this node was awake.
 */
import { ClusterView, type ClusterViewOptions, type GossipChange } from './cluster-view.ts';
import { LivedTime } from './lived-time.ts';
import { LocalHealth } from './local-health.ts';
import type { GossipBody, GossipMessage, OutgoingGossip, PingRequest, Sync } from './messages.ts';
import { timesToTell } from './news.ts';
import {
  compareInstances,
  isUp,
  recordBytes,
  type Instance,
  type NodeMeta,
  type NodeRecord,
} from './node-record.ts';
import { Prober } from './prober.ts';
import type { GossipSettings } from './settings.ts';
import { shuffled } from './turns.ts';

/** Nodes up to which Syncs are as frequent as the setting says. */
const FEW_NODES = 32;
/** Seeds that are asked at a time. */
const SEEDS_AT_ONCE = 3;

export interface GossipCoreOptions extends Omit<ClusterViewOptions, 'health'> {
  /** 16 bytes as hexadecimal digits. */
  readonly clusterId: string;
}

/** What is to be done. */
export interface GossipWork {
  /** To be sent, in this order. */
  readonly messages: readonly OutgoingGossip[];
  /** What is known otherwise than before, in the order in which it became so. */
  readonly changes: readonly GossipChange[];
}

/** How often what has happened since the start. */
export interface GossipCounts {
  probes: number;
  /** Probes without an answer, also through others. */
  silences: number;
  /** Messages of another cluster. */
  foreign: number;
  /** Messages of an earlier run of their sender. */
  outdated: number;
}

export class GossipCore {
  readonly #settings: GossipSettings;
  readonly #clusterId: string;
  readonly #random: () => number;
  readonly #view: ClusterView;
  readonly #health: LocalHealth;
  readonly #prober: Prober;
  readonly #time: LivedTime;
  #messages: OutgoingGossip[] = [];
  #seeds: readonly string[] = [];
  /** Whether somebody has told this node what there is. */
  #hasJoined = false;
  /** Questions to those taken for dead. */
  #rejoins = new Map<number, string>();
  #load: number;
  /** From one Sync to the next. */
  #syncGapMs: number;
  /** When what is due next. */
  readonly #due: Record<'news' | 'sync' | 'join' | 'rejoin' | 'load', number>;
  readonly counts: GossipCounts = { probes: 0, silences: 0, foreign: 0, outdated: 0 };

  constructor({ settings, clusterId, self, random }: GossipCoreOptions) {
    this.#settings = settings;
    this.#clusterId = clusterId;
    this.#random = random;
    this.#health = new LocalHealth(settings.maxDoubt);
    this.#view = new ClusterView({ settings, self, random, health: this.#health });
    this.#time = new LivedTime(settings.maxStepMs);
    this.#load = self.load;
    this.#syncGapMs = settings.joinIntervalMs;
    this.#prober = new Prober(
      settings,
      this.#health,
      {
        nextToProbe: () => this.#nextToProbe(),
        helpersFor: (target, count) => this.#others(count, target),
        send: (to, body) => this.#send(to, body),
        onSilent: (target) => this.#onSilent(target),
      },
      random,
    );
    // Nodes that were started together are not to do all at the same moment.
    const within = (intervalMs: number) => random() * intervalMs;
    this.#due = {
      news: within(settings.newsIntervalMs),
      sync: within(settings.joinIntervalMs),
      join: 0,
      rejoin: within(settings.rejoinIntervalMs),
      load: settings.loadIntervalMs,
    };
  }

  /** What is known of this node. */
  get self(): NodeRecord {
    return this.#view.self;
  }

  /** What is known of all nodes, this one included. */
  get nodes(): readonly NodeRecord[] {
    return [...this.#view.nodes.all];
  }

  get(name: string): NodeRecord | undefined {
    return this.#view.nodes.get(name);
  }

  /** How far this node doubts itself; 0: not at all. */
  get doubt(): number {
    return this.#health.doubt;
  }

  /** How often this node has contradicted that it was suspect or dead. */
  get refutations(): number {
    return this.#view.refutations;
  }

  /** How many news wait to be told. */
  get newsWaiting(): number {
    return this.#view.news.size;
  }

  /** The run that has this node's name now; this one says nothing any more. Undefined: this is the one. */
  get newer(): Instance | undefined {
    return this.#view.newer;
  }

  /** Whether all that waited to be told has been: what a node that leaves waits for. */
  get hasToldAll(): boolean {
    return this.#view.news.size === 0 || this.#view.nodes.upCount <= 1;
  }

  /** Takes what is to be done since the last time. */
  take(): GossipWork {
    const messages = this.newer === undefined ? this.#messages : [];
    this.#messages = [];
    return { messages, changes: this.#view.takeChanges() };
  }

  /** Nodes to ask who is there, until one answers, and whenever there is nobody else. */
  join(seeds: readonly string[]): void {
    this.#seeds = seeds.filter((name) => name !== this.self.name);
    this.#due.join = this.#time.ms;
  }

  /** A member of the table, which need not have been heard of. */
  expect(name: string, member: number): void {
    this.#view.expect(name, member);
  }

  /** A member that the table has no more: nothing is heard of it again. */
  expel(name: string, member: number): void {
    this.#view.expel(name, member);
  }

  /** What this node says of itself from now on. */
  describe(meta: Partial<NodeMeta>): void {
    this.#view.describe(meta);
  }

  /** How busy this node is, 0 to 100; told when that has changed by much. */
  setLoad(percent: number): void {
    this.#load = Math.min(100, Math.max(0, Math.round(percent)));
  }

  /** Says that this node ends. It is to be ticked until `hasToldAll`, for a second or so at most. */
  leave(): void {
    this.#view.leave();
    this.#prober.abandon();
    this.#tell();
  }

  /** The clock shows another time, in milliseconds. To be called about every 100 ms. */
  tick(clockMs: number): void {
    if (this.#time.advance(clockMs)) this.#wake();
    const nowMs = this.#time.ms;
    this.#view.tick(nowMs);
    if (this.self.state === 'left') return this.#tickNews();
    this.#prober.tick(nowMs);
    this.#tickNews();
    this.#tickLoad();
    if (this.#time.ms >= this.#due.sync) this.#sync();
    if (!this.#hasJoined && this.#isDue('join', this.#settings.joinIntervalMs)) this.#askSeeds();
    if (this.#isDue('rejoin', this.#settings.rejoinIntervalMs)) this.#askDead();
  }

  /** A message of the node `from` has come. */
  receive(from: string, message: GossipMessage): void {
    if (message.clusterId !== this.#clusterId) {
      this.counts.foreign++;
      return;
    }
    if (from === this.self.name || this.newer !== undefined) return;
    if (message.body.type === 'refusal') return this.#view.onNewer(message.body.newer);
    const known = this.#view.nodes.get(from);
    if (known !== undefined && compareInstances(message.from, known) < 0) return this.#refuse(known);
    const told = message.body.type === 'sync' ? message.body.nodes : message.news;
    for (const record of told) this.#view.hear(record, from);
    this.#onBody(from, message.body);
    const wrong = told.filter((record) => this.#view.isWrongOfSelf(record));
    if (wrong.length > 0) this.#send(from, { type: 'notice' }, this.self);
    // Whoever was buried was away, and has buried others.
    if (wrong.some(({ state }) => state === 'dead')) this.#syncSoon();
    for (const name of this.#view.takeDisputed()) this.#send(name, { type: 'notice' });
    this.#meet(from, message);
  }

  /** Of a run that is there and that the news has missed, one Sync tells. */
  #meet(from: string, { from: run, body }: GossipMessage): void {
    const known = this.#view.nodes.get(from);
    const isKnown = known !== undefined && compareInstances(run, known) <= 0;
    if (!isKnown && body.type === 'ping') this.#sendSync(from, true);
  }

  /** Invariant 1. */
  #refuse({ name, member, start }: NodeRecord): void {
    this.counts.outdated++;
    this.#send(name, { type: 'refusal', newer: { member, start } });
  }

  #onBody(from: string, body: GossipBody): void {
    switch (body.type) {
      case 'ping':
        if (body.target === this.self.name) this.#send(from, { type: 'ack', number: body.number });
        return;
      case 'pingRequest':
        return this.#onPingRequest(from, body);
      case 'ack':
        if (this.#rejoins.get(body.number) === from) this.#onFound(from);
        return this.#prober.onAck(from, body.number);
      case 'nack':
        return this.#prober.onNack(from, body.number);
      case 'sync':
        return this.#onSync(from, body);
      default:
        return;
    }
  }

  /** Who has missed that a node has left is told so, before it accuses. */
  #onPingRequest(from: string, { number, target }: PingRequest): void {
    const known = this.#view.nodes.get(target);
    if (known?.state === 'left') this.#send(from, { type: 'nack', number }, known);
    else this.#prober.relay(from, number, target, this.#time.ms);
  }

  #onSync(from: string, { wantsReply }: Sync): void {
    this.#hasJoined = true;
    if (wantsReply) this.#sendSync(from, false);
  }

  /** Invariant 4: those that were under way cannot be judged, as the answers may still wait to be read. */
  #wake(): void {
    this.#health.worse();
    this.#prober.abandon();
  }

  #nextToProbe(): string | undefined {
    const name = this.#view.nodes.nextToProbe();
    if (name !== undefined) this.counts.probes++;
    return name;
  }

  #onSilent(target: string): void {
    this.counts.silences++;
    this.#view.suspect(target, this.self.name);
  }

  #tickNews(): void {
    if (this.#isDue('news', this.#settings.newsIntervalMs)) this.#tell();
  }

  #tell(): void {
    if (this.#view.news.size === 0) return;
    for (const name of this.#view.nodes.nextToTell(this.#settings.newsFanOut))
      this.#send(name, { type: 'notice' });
  }

  #tickLoad(): void {
    const { loadStep, loadIntervalMs } = this.#settings;
    if (Math.abs(this.#load - this.self.load) < loadStep || this.#time.ms < this.#due.load) return;
    this.#due.load = this.#time.ms + loadIntervalMs;
    this.#view.describe({ load: this.#load });
  }

  /** One who was dead answers, so there may be others. */
  #onFound(name: string): void {
    this.#syncSoon();
    this.#sendSync(name, true);
  }

  #syncSoon(): void {
    this.#syncGapMs = this.#settings.joinIntervalMs;
    this.#due.sync = Math.min(this.#due.sync, this.#time.ms + this.#syncGapMs);
  }

  /**
   * Soon at first, and then half as often each time: who does not know the others yet gives up
   * telling his news too early. With more nodes each has more to tell, so it tells it less often.
   */
  #sync(): void {
    const { syncIntervalMs } = this.#settings;
    const longestMs = syncIntervalMs * Math.max(1, this.#view.nodes.upCount / FEW_NODES);
    this.#syncGapMs = Math.min(2 * this.#syncGapMs, longestMs);
    // Nodes that began together are not to go on together.
    this.#due.sync = this.#time.ms + this.#syncGapMs * (0.75 + 0.5 * this.#random());
    for (const name of this.#others(1)) this.#sendSync(name, true);
  }

  #askSeeds(): void {
    for (const name of shuffled(this.#seeds, this.#random, SEEDS_AT_ONCE)) this.#sendSync(name, true);
  }

  /**
   * Somebody who is dead, or a seed of whom nothing is known, and the rarer the fewer these are:
   * half of a cluster soon finds the other, and of one that is gone everybody together asks
   * about once. The answer is followed by a Sync.
   */
  #askDead(): void {
    this.#rejoins.clear();
    const lost = this.nodes.filter(({ state }) => state === 'dead').map(({ name }) => name);
    const unknown = this.#seeds.filter((name) => this.#view.nodes.get(name) === undefined);
    const candidates = [...lost, ...unknown];
    if (this.#random() >= candidates.length / this.#view.nodes.upCount) return;
    for (const target of shuffled(candidates, this.#random, 1)) {
      const number = this.#prober.nextNumber();
      this.#rejoins.set(number, target);
      this.#send(target, { type: 'ping', number, target });
    }
  }

  #sendSync(to: string, wantsReply: boolean): void {
    // Itself and the receiver above all: that is what the two can do something about.
    const { nodes: known } = this.#view;
    const others = known.pick(Infinity, ({ name }) => name !== to && name !== this.self.name);
    const nodes: NodeRecord[] = [];
    let left = this.#settings.maxSyncBytes;
    for (const name of [this.self.name, to, ...others]) {
      const record = known.get(name);
      if (record === undefined) continue;
      left -= recordBytes(record);
      if (left < 0) break;
      nodes.push(record);
    }
    this.#post(to, { type: 'sync', nodes, wantsReply }, []);
  }

  /** `about`: a record that the receiver should know. */
  #send(to: string, body: GossipBody, about?: NodeRecord): void {
    const { maxNewsBytes, retransmits } = this.#settings;
    const { news, nodes } = this.#view;
    const times = timesToTell(retransmits, nodes.upCount);
    // Invariant 3.
    const first = this.#view.isDoubted(to) ? nodes.get(to) : about;
    this.#post(to, body, news.take(maxNewsBytes, times, first));
  }

  #post(to: string, body: GossipBody, news: readonly NodeRecord[]): void {
    const { member, start } = this.self;
    this.#messages.push({ to, message: { clusterId: this.#clusterId, from: { member, start }, news, body } });
  }

  /** Some others that are up. */
  #others(count: number, except?: string): string[] {
    const { name: self } = this.self;
    return this.#view.nodes.pick(
      count,
      (record) => isUp(record) && record.name !== self && record.name !== except,
    );
  }

  #isDue(what: 'news' | 'join' | 'rejoin', intervalMs: number): boolean {
    if (this.#time.ms < this.#due[what]) return false;
    this.#due[what] = this.#time.ms + intervalMs;
    return true;
  }
}
