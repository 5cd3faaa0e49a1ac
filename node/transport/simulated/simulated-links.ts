import type { SeededRandom } from '../../runtime/simulated/seeded-random.ts';
import { InjectionCounts } from '../../runtime/simulated/injection-counts.ts';
import type { EventQueue } from '../../runtime/simulated/simulated-scheduler.ts';
import { ConnectionEnd, type Frame, type Wire } from './simulated-connection.ts';

/** How the links between callers and nodes behave; all of it can be changed while they run. */
export interface LinkConditions {
  /** Shortest and longest time of a frame, in milliseconds. Default 0.1 to 1. */
  latencyMs: readonly [least: number, most: number];
  /** Probability that a frame meets a delay of up to `longDelayMs`, and all behind it with it. Default 0. */
  delay: number;
  /** Longest extra delay in milliseconds. Default 1,000. */
  longDelayMs: number;
  /** Probability that a frame of a caller breaks its connection. Default 0. */
  reset: number;
  /** Probability that an answer is lost because its connection breaks under it. Default 0. */
  loseReply: number;
}

/** Who takes connections at an address. */
export interface Listener {
  readonly process: EventQueue;
  accept(end: ConnectionEnd): void;
}

/** What came of an attempt to connect. Neither is called while the other side is silent. */
export interface ConnectEvents {
  onConnected(end: ConnectionEnd): void;
  onRefused(): void;
}

/** Keeps a frame after the one before it when the sum of times is rounded. */
const ROUNDING_MS = 1e-6;
/** What waited for a link to be mended is repeated by then. */
const REPEAT_MS = 400;
/** A machine that is back answers to what belongs to a connection of before, by then. */
const NOTICE_MS = 1_000;

/** Links between machines that callers reach nodes over: in order, reliable, and breakable. */
export class SimulatedLinks implements Wire {
  readonly conditions: LinkConditions;
  /** What was injected: cut-link (frames that met one), delay-frame, reset-connection, lose-reply. */
  readonly injections: InjectionCounts;
  /** Told of every frame that is sent; a trace hashes it. */
  observe: ((from: string, to: string, frame: Frame) => void) | undefined;
  readonly #queue: EventQueue;
  readonly #random: SeededRandom;
  readonly #listeners = new Map<string, { readonly host: string; readonly listener: Listener | undefined }>();
  readonly #hostsOff = new Set<string>();
  readonly #cut = new Set<string>();
  readonly #ends = new Set<ConnectionEnd>();

  constructor(
    queue: EventQueue,
    random: SeededRandom,
    conditions: Partial<LinkConditions> = {},
    injections = new InjectionCounts(),
  ) {
    this.#queue = queue;
    this.#random = random;
    this.conditions = { ...DEFAULT_CONDITIONS, ...conditions };
    this.injections = injections;
  }

  /** Takes connections to `address` on the machine `host`, in place of who did so before. Undefined: refuses them. */
  listen(address: string, host: string, listener: Listener | undefined): void {
    this.#listeners.set(address, { host, listener });
  }

  /** Begins to connect; a listener that is paused accepts when it goes on. */
  connect(host: string, process: EventQueue, address: string, events: ConnectEvents): void {
    const end = new ConnectionEnd(host, process, true, this);
    const to = this.#listeners.get(address)?.host ?? address;
    const far = { host: to };
    this.#travel(end, far, 16, () => {
      if (this.#hostsOff.has(to)) return;
      const listener = this.#listeners.get(address)?.listener;
      if (listener === undefined) this.#refuse(end, to, events);
      else listener.process.after(0, () => this.#accept(end, to, listener, events));
    });
  }

  #refuse(end: ConnectionEnd, from: string, events: ConnectEvents): void {
    const back = new ConnectionEnd(from, this.#queue, false, this);
    this.#travel(back, end, 16, () => end.process.after(0, () => events.onRefused()));
  }

  #accept(end: ConnectionEnd, host: string, listener: Listener, events: ConnectEvents): void {
    const far = new ConnectionEnd(host, listener.process, false, this);
    ConnectionEnd.join(end, far);
    this.#ends.add(end).add(far);
    listener.accept(far);
    this.carry(far, 16, () => end.process.after(0, () => events.onConnected(end)));
  }

  /** Cuts the link from one machine to another; the way back stays as it is. */
  cut(from: string, to: string): void {
    this.#cut.add(linkKey(from, to));
  }

  mend(from: string, to: string): void {
    this.#cut.delete(linkKey(from, to));
    this.#repeatHeld();
  }

  /** Mends every link and injects nothing any more. */
  calm(): void {
    this.#cut.clear();
    Object.assign(this.conditions, { delay: 0, reset: 0, loseReply: 0 });
    this.#repeatHeld();
  }

  /** Breaks connections of a machine, each with the given probability; returns how many. */
  resetConnections(host: string, probability: number): number {
    let broken = 0;
    for (const end of this.#live()) {
      if (end.host !== host || !end.isOpen || !this.#random.chance(probability)) continue;
      this.#breakBoth(end);
      broken++;
    }
    this.injections.note('reset-connection', broken);
    return broken;
  }

  /** A process has died: its machine, if it is up, tells the other ends. */
  processEnded(process: EventQueue, isMachineUp: boolean): void {
    for (const end of this.#live()) if (end.process === process) end.abandon(isMachineUp);
  }

  /** The machine has lost power: what is sent to it vanishes. */
  hostOff(host: string): void {
    this.#hostsOff.add(host);
  }

  /** The machine has power again, and breaks the connections it knows nothing of when something comes over them. */
  hostOn(host: string): void {
    if (!this.#hostsOff.delete(host)) return;
    for (const end of this.#live()) {
      if (end.host !== host || !end.isGone || !end.peer.isOpen) continue;
      this.#queue.after(NOTICE_MS * this.#random.float(), () => {
        this.#travel(end, end.peer, 16, () => end.peer.break());
      });
    }
  }

  carry(from: ConnectionEnd, bytes: number, deliver: () => void): void {
    this.#travel(from, from.peer, bytes, deliver);
  }

  admit(from: ConnectionEnd, frame: Frame): boolean {
    this.observe?.(from.host, from.peer.host, frame);
    if (from.isCaller) {
      if (frame.kind !== 'message' && frame.kind !== 'call') return true;
      if (!this.#random.chance(this.conditions.reset)) return true;
      this.injections.note('reset-connection');
      if (this.#random.chance(0.5)) return this.#breakAheadOf(from);
    } else {
      if (frame.kind !== 'message' && frame.kind !== 'status') return true;
      if (!this.#random.chance(this.conditions.loseReply)) return true;
      this.injections.note('lose-reply');
    }
    this.#breakBoth(from);
    return false;
  }

  /**
   * The caller loses the connection while what it sends is on a slow way, which the node gets
   * later: after the caller has sent it again, perhaps.
   */
  #breakAheadOf(from: ConnectionEnd): true {
    const delayMs = this.conditions.longDelayMs * this.#random.float();
    from.lastArrivalMs = Math.max(from.lastArrivalMs, this.#queue.nowMs() + delayMs);
    this.#queue.after(0, () => {
      from.break();
      this.carry(from, 16, () => from.peer.break());
    });
    return true;
  }

  /** In order, after what was sent before; over a cut link not before it is mended. */
  #travel(from: ConnectionEnd, to: { readonly host: string }, bytes: number, deliver: () => void): void {
    const nowMs = this.#queue.nowMs();
    const [least, most] = this.conditions.latencyMs;
    let atMs = nowMs + least + (most - least) * this.#random.float() + bytes / BYTES_PER_MS;
    if (this.#random.chance(this.conditions.delay)) {
      this.injections.note('delay-frame');
      atMs += this.conditions.longDelayMs * this.#random.float();
    }
    from.lastArrivalMs = atMs = Math.max(atMs, from.lastArrivalMs + ROUNDING_MS);
    const arrive = () => {
      if (this.#hostsOff.has(to.host)) return;
      if (from.held.length === 0 && !this.#cut.has(linkKey(from.host, to.host))) return deliver();
      this.injections.note('cut-link');
      if (from.held.push(arrive) === 1) this.#holding.add({ from, to: to.host });
    };
    this.#queue.after(atMs - nowMs, arrive);
  }

  readonly #holding = new Set<{ readonly from: ConnectionEnd; readonly to: string }>();

  #repeatHeld(): void {
    for (const entry of this.#holding) {
      const { from, to } = entry;
      if (this.#cut.has(linkKey(from.host, to))) continue;
      this.#holding.delete(entry);
      this.#queue.after(REPEAT_MS * this.#random.float(), () => {
        for (const arrive of from.held.splice(0)) arrive();
      });
    }
  }

  #breakBoth(end: ConnectionEnd): void {
    end.break();
    end.peer.break();
  }

  /** Ends of which either side may still matter; forgets the others. */
  #live(): ConnectionEnd[] {
    for (const end of this.#ends) if (!end.isOpen && !end.peer.isOpen) this.#ends.delete(end);
    return [...this.#ends];
  }
}

const DEFAULT_CONDITIONS: LinkConditions = {
  latencyMs: [0.1, 1],
  delay: 0,
  longDelayMs: 1_000,
  reset: 0,
  loseReply: 0,
};

/** About 1 Gbit/s. */
const BYTES_PER_MS = 100_000;

function linkKey(from: string, to: string): string {
  return `${from}\n${to}`;
}
