/**
 * Cores of gossip on a network of their own, driven by one seed: messages take their time, are
 * lost, and can be cut in one direction; nodes crash, stall, and have clocks that jump. What a
 * stalled node is sent waits for it, and is read before or after its next tick.
 */
import { encodeGossip, decodeGossip } from '../../../node/cluster/gossip-codec.ts';
import { GossipCore } from '../../../node/cluster/gossip/gossip-core.ts';
import type { GossipChange } from '../../../node/cluster/gossip/cluster-view.ts';
import type { GossipMessage } from '../../../node/cluster/gossip/messages.ts';
import type { LifeState } from '../../../node/cluster/gossip/node-record.ts';
import { resolveGossipSettings, type GossipSettings } from '../../../node/cluster/gossip/settings.ts';
import { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';

export const CLUSTER = '0123456789abcdef0123456789abcdef';
export const OTHER_CLUSTER = 'fedcba9876543210fedcba9876543210';
export const TICK_MS = 100;
/** A message takes so long at most; less than half of a tick. */
const MAX_DELAY_MS = 20;

export interface GossipNetworkOptions {
  readonly seed: string | number;
  readonly settings?: Partial<GossipSettings>;
  /** Share of the messages that are lost. */
  readonly loss?: number;
}

export interface NodeOptions {
  readonly member?: number;
  readonly start?: number;
  readonly clusterId?: string;
  /** Where it listens; default: its name. All that share one hear what is sent there. */
  readonly address?: string;
  readonly zone?: string;
}

/** A change that a node has seen. */
export interface SeenChange extends GossipChange {
  readonly atMs: number;
  readonly by: string;
}

/** What nodes have sent since the last `resetTraffic`. */
export interface Traffic {
  messages: number;
  bytes: number;
}

export class SimulatedNode {
  readonly name: string;
  readonly address: string;
  readonly core: GossipCore;
  /** It has neither ended nor crashed. */
  isUp = true;
  /** Until when it does nothing. */
  stalledUntilMs = 0;
  /** By how much later than to others messages come to it. */
  lateByMs = 0;
  /** By how much its clock differs from the world's. */
  clockOffsetMs = 0;
  /** What has come and was not read. */
  readonly inbox: { readonly from: string; readonly bytes: Uint8Array }[] = [];
  readonly sent: Traffic = { messages: 0, bytes: 0 };
  nextTickMs: number;

  constructor(name: string, address: string, core: GossipCore, nextTickMs: number) {
    this.name = name;
    this.address = address;
    this.core = core;
    this.nextTickMs = nextTickMs;
  }
}

interface Delivery {
  readonly atMs: number;
  readonly to: string;
  readonly from: SimulatedNode;
  readonly bytes: Uint8Array;
}

export class GossipNetwork {
  readonly random: SeededRandom;
  readonly settings: GossipSettings;
  loss: number;
  /** By name; of two runs of one name the later. */
  readonly nodes = new Map<string, SimulatedNode>();
  readonly changes: SeenChange[] = [];
  /** Told of every message that a node sends. */
  onSent: ((from: SimulatedNode, message: GossipMessage, bytes: number) => void) | undefined;
  /** `from>to` by names. */
  readonly #cuts = new Set<string>();
  /** By millisecond at which they arrive. */
  readonly #deliveries = new Map<number, Delivery[]>();
  readonly #everybody: SimulatedNode[] = [];
  #nowMs = 0;

  constructor({ seed, settings, loss = 0 }: GossipNetworkOptions) {
    this.random = new SeededRandom(seed);
    this.settings = resolveGossipSettings(settings);
    this.loss = loss;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** All nodes that are up, in the order in which they were started. */
  get running(): SimulatedNode[] {
    return this.#everybody.filter(({ isUp }) => isUp);
  }

  start(name: string, options: NodeOptions = {}): SimulatedNode {
    const { member = 1, start = 1, clusterId = CLUSTER, address = name, zone = '' } = options;
    const random = this.random.fork(`${name} ${member} ${start} ${clusterId}`);
    const meta = { zone, datacentre: '', grpc: `${address}:7401`, http: `${address}:7501` };
    const self = { name, member, start, ...meta, version: '0.1.0', load: 0 };
    const core = new GossipCore({ settings: this.settings, clusterId, self, random: () => random.float() });
    const offsetMs = Math.floor(random.float() * TICK_MS);
    const node = new SimulatedNode(name, address, core, this.#nowMs + offsetMs);
    this.nodes.set(name, node);
    this.#everybody.push(node);
    return node;
  }

  /** Nodes n1 to nN, of which each was told of the first, and that all know each other. */
  startMany(count: number): string[] {
    const names = Array.from({ length: count }, (_, at) => `n${at + 1}`);
    for (const name of names) this.start(name).core.join(names.slice(0, 1));
    this.runUntil(() => this.isAgreed(names), 120_000, 'the cluster has come together');
    return names;
  }

  node(name: string): SimulatedNode {
    return this.nodes.get(name)!;
  }

  crash(name: string): void {
    this.node(name).isUp = false;
  }

  stall(name: string, forMs: number): void {
    this.node(name).stalledUntilMs = this.#nowMs + forMs;
  }

  /** Messages of these to those are lost from now on. */
  cut(from: readonly string[], to: readonly string[]): void {
    for (const one of from) for (const other of to) if (one !== other) this.#cuts.add(`${one}>${other}`);
  }

  cutBoth(some: readonly string[], others: readonly string[]): void {
    this.cut(some, others);
    this.cut(others, some);
  }

  heal(): void {
    this.#cuts.clear();
  }

  /** Whether all of these hold exactly these for alive. */
  isAgreed(names: readonly string[]): boolean {
    return names.every((name) => {
      const nodes = this.node(name).core.nodes;
      const alive = nodes.filter(({ state }) => state === 'alive');
      return alive.length === names.length && alive.every((one) => names.includes(one.name));
    });
  }

  /** Whether all others that are up hold a node for this. */
  isHeldFor(name: string, state: LifeState): boolean {
    return this.running.every((one) => one.name === name || one.core.get(name)?.state === state);
  }

  /** A message as if `from` had sent it. */
  inject(from: SimulatedNode, to: string, message: GossipMessage): void {
    this.#transmit(from, to, encodeGossip(message));
  }

  resetTraffic(): void {
    for (const { sent } of this.#everybody) Object.assign(sent, { messages: 0, bytes: 0 });
  }

  runFor(durationMs: number): void {
    const endMs = this.#nowMs + durationMs;
    while (this.#nowMs < endMs) this.#step();
  }

  /** Returns how long it took; Error: it has not come to that in time. */
  runUntil(condition: () => boolean, withinMs: number, what: string): number {
    const startMs = this.#nowMs;
    if (!this.hasBecome(condition, withinMs)) throw new Error(`after ${withinMs} ms: not yet ${what}`);
    return this.#nowMs - startMs;
  }

  /** Runs until a condition holds; false: it does not within that time. */
  hasBecome(condition: () => boolean, withinMs: number): boolean {
    const endMs = this.#nowMs + withinMs;
    // To look costs more than to run: as a rule what is known changes with a change alone.
    for (let looked = -1; ; this.#step()) {
      if (looked !== this.changes.length || this.#nowMs % TICK_MS === 0) {
        if (condition()) return true;
        looked = this.changes.length;
      }
      if (this.#nowMs >= endMs) return false;
    }
  }

  /** A millisecond. */
  #step(): void {
    const arriving = this.#deliveries.get(this.#nowMs);
    this.#deliveries.delete(this.#nowMs);
    for (const { to, from, bytes } of arriving ?? []) this.#arrive(to, from, bytes);
    for (const node of this.#everybody)
      if (node.isUp && this.#nowMs >= node.nextTickMs && this.#nowMs >= node.stalledUntilMs) this.#tick(node);
    this.#nowMs++;
  }

  #arrive(address: string, from: SimulatedNode, bytes: Uint8Array): void {
    for (const node of this.#everybody) {
      if (!node.isUp || node.address !== address) continue;
      node.inbox.push({ from: from.name, bytes });
      if (this.#nowMs >= node.stalledUntilMs) this.#read(node);
    }
  }

  /** Awake again it ticks first as often as it reads first: whichever is worse. */
  #tick(node: SimulatedNode): void {
    node.nextTickMs = this.#nowMs + TICK_MS;
    if (node.inbox.length > 0 && this.random.chance(0.5)) this.#read(node);
    node.core.tick(this.#nowMs + node.clockOffsetMs);
    this.#carryOut(node);
    if (node.inbox.length > 0) this.#read(node);
  }

  #read(node: SimulatedNode): void {
    for (const { from, bytes } of node.inbox.splice(0)) node.core.receive(from, decodeGossip(bytes));
    this.#carryOut(node);
  }

  #carryOut(node: SimulatedNode): void {
    const { messages, changes } = node.core.take();
    for (const change of changes) this.changes.push({ ...change, atMs: this.#nowMs, by: node.name });
    for (const { to, message } of messages) {
      const bytes = encodeGossip(message);
      node.sent.messages++;
      node.sent.bytes += bytes.length;
      this.onSent?.(node, message, bytes.length);
      this.#transmit(node, to, bytes);
    }
  }

  /** By address: that two nodes listen at one, and which of them, is not the sender's to know. */
  #transmit(from: SimulatedNode, to: string, bytes: Uint8Array): void {
    if (this.#cuts.has(`${from.name}>${to}`) || this.random.chance(this.loss)) return;
    const lateByMs = this.nodes.get(to)?.lateByMs ?? 0;
    const atMs = this.#nowMs + 1 + lateByMs + Math.floor(this.random.float() * MAX_DELAY_MS);
    const delivery = { atMs, to, from, bytes };
    const known = this.#deliveries.get(atMs);
    if (known === undefined) this.#deliveries.set(atMs, [delivery]);
    else known.push(delivery);
  }
}
