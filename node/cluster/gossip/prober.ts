/**
 * Probes: one node at a time, first by itself, then through others; and probes for others
 * ("SWIM", section 3; Lifeguard, section IV-A).
 *
 *  1. A probe ends with one verdict: at once when the node answers, else when its interval is over.
 *  2. What this node slept through is no verdict on others.
 *  3. Only who was asked can answer: the node itself, or one that was asked to probe it.
 */
import type { LocalHealth } from './local-health.ts';
import type { GossipBody } from './messages.ts';
import type { GossipSettings } from './settings.ts';

/** What a prober needs of the node that it is a part of. */
export interface ProbeHost {
  /** Whom to probe next; undefined: nobody. */
  nextToProbe(): string | undefined;
  /** Up to so many who can be asked to probe a node. */
  helpersFor(target: string, count: number): readonly string[];
  send(to: string, body: GossipBody): void;
  /** A node has given no sign of life, to this node nor to others. */
  onSilent(target: string): void;
}

interface Probe {
  readonly number: number;
  readonly target: string;
  /** Others are asked then. */
  readonly askAtMs: number;
  readonly endMs: number;
  /** Who was asked, undefined: it is not that time yet. */
  helpers: ReadonlySet<string> | undefined;
  /** Those of them that got no answer, and say so. */
  readonly nacks: Set<string>;
  answered: boolean;
}

interface Relay {
  readonly asker: string;
  /** The asker's. */
  readonly number: number;
  readonly target: string;
  readonly nackAtMs: number;
  readonly endMs: number;
  saidSo: boolean;
}

export class Prober {
  readonly #settings: GossipSettings;
  readonly #health: LocalHealth;
  readonly #host: ProbeHost;
  #probe: Probe | undefined;
  #nextMs: number;
  /** By this node's number of the question, in the order in which they end. */
  readonly #relays = new Map<number, Relay>();
  #number: number;

  /** `random`: numbers in [0, 1); nodes that begin together are not to probe together. */
  constructor(settings: GossipSettings, health: LocalHealth, host: ProbeHost, random: () => number) {
    this.#settings = settings;
    this.#health = health;
    this.#host = host;
    this.#nextMs = random() * settings.probeIntervalMs;
    // Answers to questions of an earlier run are not to be taken for answers to these.
    this.#number = Math.floor(random() * 2 ** 32);
  }

  /** A number for a question that no other one under way has. */
  nextNumber(): number {
    this.#number = (this.#number + 1) >>> 0;
    return this.#number;
  }

  /** Gives up the probe under way without a verdict. Invariant 2. */
  abandon(): void {
    this.#probe = undefined;
  }

  tick(nowMs: number): void {
    this.#tickRelays(nowMs);
    if (this.#probe !== undefined) this.#tickProbe(this.#probe, nowMs);
    if (this.#probe === undefined && nowMs >= this.#nextMs) this.#begin(nowMs);
  }

  /** Probes a node for another one. */
  relay(asker: string, number: number, target: string, nowMs: number): void {
    const { maxRelays, nackTimeoutMs, probeIntervalMs } = this.#settings;
    if (this.#relays.size >= maxRelays) return;
    const own = this.nextNumber();
    const times = { nackAtMs: nowMs + nackTimeoutMs, endMs: nowMs + 2 * probeIntervalMs };
    this.#relays.set(own, { asker, number, target, ...times, saidSo: false });
    this.#host.send(target, { type: 'ping', number: own, target });
  }

  onAck(from: string, number: number): void {
    const relay = this.#relays.get(number);
    if (relay !== undefined && relay.target === from) {
      this.#relays.delete(number);
      this.#host.send(relay.asker, { type: 'ack', number: relay.number });
    }
    const probe = this.#probe;
    if (probe?.number !== number || probe.answered || !isAsked(probe, from)) return;
    probe.answered = true;
    this.#health.better();
  }

  onNack(from: string, number: number): void {
    const probe = this.#probe;
    if (probe?.number === number && probe.helpers?.has(from) === true) probe.nacks.add(from);
  }

  #begin(nowMs: number): void {
    const { probeIntervalMs, probeTimeoutMs } = this.#settings;
    const { stretch } = this.#health;
    this.#nextMs = nowMs + probeIntervalMs;
    const target = this.#host.nextToProbe();
    if (target === undefined) return;
    const number = this.nextNumber();
    const times = { askAtMs: nowMs + probeTimeoutMs * stretch, endMs: nowMs + probeIntervalMs * stretch };
    this.#probe = { number, target, ...times, helpers: undefined, nacks: new Set(), answered: false };
    this.#host.send(target, { type: 'ping', number, target });
  }

  #tickProbe(probe: Probe, nowMs: number): void {
    if (probe.answered) this.#probe = undefined;
    else if (nowMs >= probe.endMs) this.#fail(probe);
    else if (nowMs >= probe.askAtMs && probe.helpers === undefined) this.#askOthers(probe);
  }

  #askOthers(probe: Probe): void {
    const { number, target } = probe;
    probe.helpers = new Set(this.#host.helpersFor(target, this.#settings.indirectProbes));
    for (const helper of probe.helpers) this.#host.send(helper, { type: 'pingRequest', number, target });
  }

  /** Helpers that do not even say that they got no answer speak against this node, not against the target. */
  #fail({ target, helpers, nacks }: Probe): void {
    this.#probe = undefined;
    const asked = helpers?.size ?? 0;
    this.#health.worse(asked > 0 ? asked - nacks.size : 1);
    this.#host.onSilent(target);
  }

  #tickRelays(nowMs: number): void {
    for (const [own, relay] of this.#relays) {
      if (nowMs >= relay.nackAtMs && !relay.saidSo) {
        relay.saidSo = true;
        this.#host.send(relay.asker, { type: 'nack', number: relay.number });
      }
      if (nowMs >= relay.endMs) this.#relays.delete(own);
    }
  }
}

/** Invariant 3. */
function isAsked({ target, helpers }: Probe, name: string): boolean {
  return name === target || helpers?.has(name) === true;
}
