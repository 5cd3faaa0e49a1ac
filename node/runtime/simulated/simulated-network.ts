import type { PeerTransport } from '../peer-transport.ts';
import { InjectionCounts } from './injection-counts.ts';
import type { SeededRandom } from './seeded-random.ts';
import type { EventQueue } from './simulated-scheduler.ts';

/** How links behave; all settings can be changed while the network runs. */
export interface NetworkConditions {
  /** Shortest and longest time of a message, in milliseconds. Default 0.1 to 1. */
  latencyMs: readonly [least: number, most: number];
  /** Probability that a message is lost. Default 0. */
  drop: number;
  /** Probability that a message arrives twice. Default 0. */
  duplicate: number;
  /** Probability that a message does not wait for those sent before it on its link. Default 0. */
  reorder: number;
  /** Probability of an extra delay, up to `longDelayMs`. Default 0. */
  delay: number;
  /** Longest extra delay in milliseconds. Default 1,000. */
  longDelayMs: number;
  /** Bytes on the way to one peer beyond which messages are dropped. Default 64 MiB. */
  maxQueuedBytes: number;
}

/**
 * The network of a simulated world: one transport per node, and links between any two of
 * them that lose, delay, repeat and reorder messages by chance, and can be cut one way.
 */
export class SimulatedNetwork {
  readonly conditions: NetworkConditions;
  /** What was injected: drop, duplicate, reorder, delay, cut (messages lost on a cut link), overflow. */
  readonly injections = new InjectionCounts();
  /** Told of every message that is sent, even if it is then lost. */
  observe: ((from: string, to: string, message: Uint8Array) => void) | undefined;
  readonly #queue: EventQueue;
  readonly #random: SeededRandom;
  readonly #nodes = new Map<string, SimulatedPeerTransport>();
  /** Keys of `linkKey`. */
  readonly #cut = new Set<string>();

  constructor(queue: EventQueue, random: SeededRandom, conditions: Partial<NetworkConditions> = {}) {
    this.#queue = queue;
    this.#random = random;
    this.conditions = { ...DEFAULT_CONDITIONS, ...conditions };
  }

  /**
   * The transport of the node `name`, in place of an earlier one of that name. With
   * `process`, messages reach the node only while that process runs.
   */
  transport(name: string, process: EventQueue = this.#queue): SimulatedPeerTransport {
    void this.#nodes.get(name)?.close();
    const transport = new SimulatedPeerTransport(process, (to, message) => {
      this.#send(transport, name, to, message);
    });
    this.#nodes.set(name, transport);
    return transport;
  }

  /** Cuts the link from one node to another; the way back stays as it is. */
  cut(from: string, to: string): void {
    this.#cut.add(linkKey(from, to));
  }

  /** Undoes `cut` for one link. */
  mend(from: string, to: string): void {
    this.#cut.delete(linkKey(from, to));
  }

  /**
   * Cuts every link between nodes that are in no common group. A node may be in two
   * groups: a bridge. A node in none is alone. Links cut before stay cut.
   */
  partition(...groups: readonly (readonly string[])[]): void {
    for (const from of this.#nodes.keys()) {
      for (const to of this.#nodes.keys()) {
        const areTogether = groups.some((group) => group.includes(from) && group.includes(to));
        if (from !== to && !areTogether) this.cut(from, to);
      }
    }
  }

  /** Mends every link. */
  heal(): void {
    this.#cut.clear();
  }

  /** Heals everything and sets every rate to 0: the second half of a test, where progress is due. */
  calm(): void {
    this.heal();
    Object.assign(this.conditions, { drop: 0, duplicate: 0, reorder: 0, delay: 0 });
  }

  #send(sender: SimulatedPeerTransport, from: string, to: string, message: Uint8Array): void {
    this.observe?.(from, to, message);
    if (sender.queuedBytes(to) + message.length > this.conditions.maxQueuedBytes) {
      this.injections.note('overflow');
      return;
    }
    if (this.#happens('drop')) return;
    // The caller may use its buffer again; a network keeps no reference to it.
    const copy = message.slice();
    this.#carry(sender, from, to, copy);
    if (this.#happens('duplicate')) this.#carry(sender, from, to, copy.slice());
  }

  #carry(sender: SimulatedPeerTransport, from: string, to: string, message: Uint8Array): void {
    const nowMs = this.#queue.nowMs();
    const [least, most] = this.conditions.latencyMs;
    let atMs = nowMs + least + (most - least) * this.#random.float();
    if (this.#happens('delay')) atMs += this.conditions.longDelayMs * this.#random.float();
    if (!this.#happens('reorder')) atMs = sender.inOrder(to, atMs);
    sender.countQueued(to, message.length);
    this.#queue.after(atMs - nowMs, () => {
      sender.countQueued(to, -message.length);
      if (this.#cut.has(linkKey(from, to))) this.injections.note('cut');
      else this.#nodes.get(to)?.arrive(from, message);
    });
  }

  #happens(kind: 'drop' | 'duplicate' | 'reorder' | 'delay'): boolean {
    const happens = this.#random.chance(this.conditions[kind]);
    if (happens) this.injections.note(kind);
    return happens;
  }
}

/** One node's end of a simulated network. */
export class SimulatedPeerTransport implements PeerTransport {
  readonly #process: EventQueue;
  readonly #carry: (to: string, message: Uint8Array) => void;
  readonly #queued = new Map<string, number>();
  readonly #lastArrivalMs = new Map<string, number>();
  #receive: ((peer: string, message: Uint8Array) => void) | undefined;
  #isClosed = false;

  constructor(process: EventQueue, carry: (to: string, message: Uint8Array) => void) {
    this.#process = process;
    this.#carry = carry;
  }

  send(peer: string, message: Uint8Array): void {
    if (!this.#isClosed) this.#carry(peer, message);
  }

  onMessage(receive: (peer: string, message: Uint8Array) => void): void {
    this.#receive = receive;
  }

  queuedBytes(peer: string): number {
    return this.#queued.get(peer) ?? 0;
  }

  close(): Promise<void> {
    this.#isClosed = true;
    return Promise.resolve();
  }

  /** For the network: a message has come. */
  arrive(from: string, message: Uint8Array): void {
    this.#process.after(0, () => {
      if (!this.#isClosed) this.#receive?.(from, message);
    });
  }

  /** For the network: `atMs`, or later if an earlier message to `to` arrives later. */
  inOrder(to: string, atMs: number): number {
    const inOrderMs = Math.max(atMs, (this.#lastArrivalMs.get(to) ?? 0) + ROUNDING_MS);
    this.#lastArrivalMs.set(to, inOrderMs);
    return inOrderMs;
  }

  /** For the network: `bytes` more (or fewer) are on the way to `to`. */
  countQueued(to: string, bytes: number): void {
    this.#queued.set(to, this.queuedBytes(to) + bytes);
  }
}

const DEFAULT_CONDITIONS: NetworkConditions = {
  latencyMs: [0.1, 1],
  drop: 0,
  duplicate: 0,
  reorder: 0,
  delay: 0,
  longDelayMs: 1000,
  maxQueuedBytes: 64 * 2 ** 20,
};

/** Keeps a message after the one before it when the sum of times is rounded. */
const ROUNDING_MS = 1e-6;

function linkKey(from: string, to: string): string {
  return `${from}\n${to}`;
}
