import type { Clock } from './clock.ts';
import { HoldfastError } from './error.ts';

const AVOID_MS = 2_000;

/** A node that the cluster has told of. */
export interface ToldNode {
  readonly endpoint: string;
  /** It is held for alive by most of what there is to go by. */
  readonly isAlive: boolean;
}

/**
 * The nodes this client may ask and which one to ask next: the first in order that is not
 * held for suspect or gone and has not failed in the last two seconds; when there is none, one
 * that has not failed; and when all have, the one that failed longest ago. First are those that
 * the client was given, then those that it was told of.
 */
export class Endpoints {
  readonly #clock: Clock;
  readonly #given: readonly string[];
  #names: readonly string[];
  readonly #failedAtMs = new Map<string, number>();
  /** Held for suspect or gone by the cluster, and not heard of by this client since. */
  readonly #doubted = new Set<string>();
  #onFirstAnswer: (() => void) | undefined;

  /** `onFirstAnswer`: some node has answered, once. */
  constructor(names: readonly string[], clock: Clock, onFirstAnswer?: () => void) {
    this.#clock = clock;
    this.#given = names;
    this.#names = names;
    this.#onFirstAnswer = onFirstAnswer;
  }

  /** All endpoints, as `host:port`. */
  get all(): readonly string[] {
    return this.#names;
  }

  /** What the cluster says of its nodes now: all of them. */
  learn(nodes: readonly ToldNode[]): void {
    this.#names = [...new Set([...this.#given, ...nodes.map(({ endpoint }) => endpoint)])];
    for (const { endpoint, isAlive } of nodes) {
      // Whoever is back need not wait until it is asked again.
      if (isAlive && this.#doubted.delete(endpoint)) this.#failedAtMs.delete(endpoint);
      else if (!isAlive) this.#doubted.add(endpoint);
    }
    const told = new Set(nodes.map(({ endpoint }) => endpoint));
    for (const endpoint of this.#doubted) if (!told.has(endpoint)) this.#doubted.delete(endpoint);
  }

  /** Whether an endpoint has failed a moment ago. */
  isAvoided(name: string): boolean {
    const failedAtMs = this.#failedAtMs.get(name);
    return failedAtMs !== undefined && this.#clock.monotonicMs() - failedAtMs < AVOID_MS;
  }

  /** Whether some endpoint has not failed a moment ago. */
  get hasUnavoided(): boolean {
    return this.#names.some((name) => !this.isAvoided(name));
  }

  /** The endpoint for a call: `preferred`, unless it is avoided or doubted. */
  pick(preferred?: string): string {
    const isGood = (name: string) => !this.#doubted.has(name) && !this.isAvoided(name);
    if (preferred !== undefined && isGood(preferred)) return preferred;
    const good = this.#doubted.size === 0 ? undefined : this.#names.find(isGood);
    if (good !== undefined) return good;
    if (preferred !== undefined && !this.isAvoided(preferred)) return preferred;
    return this.#leastAvoided();
  }

  /** Avoid this endpoint for a while. */
  failed(name: string): void {
    this.#failedAtMs.set(name, this.#clock.monotonicMs());
  }

  /** It answered, or another node has just named it: no reason to avoid it, nor to doubt it. */
  answered(name: string): void {
    if (this.#failedAtMs.size > 0) this.#failedAtMs.delete(name);
    if (this.#doubted.size > 0) this.#doubted.delete(name);
    if (this.#onFirstAnswer === undefined) return;
    const tell = this.#onFirstAnswer;
    this.#onFirstAnswer = undefined;
    tell();
  }

  #leastAvoided(): string {
    const nowMs = this.#clock.monotonicMs();
    let oldest = this.#names[0]!;
    let oldestMs = Infinity;
    for (const name of this.#names) {
      const failedAtMs = this.#failedAtMs.get(name);
      if (failedAtMs === undefined || nowMs - failedAtMs >= AVOID_MS) return name;
      if (failedAtMs < oldestMs) [oldest, oldestMs] = [name, failedAtMs];
    }
    return oldest;
  }
}

const FORM = /^(\[[0-9a-fA-F:.]+\]|[^\s:,/[\]]+):(\d{1,5})$/;

/** Endpoints from a list or comma-separated text of `host:port`; INVALID_FIELD for anything else. */
export function parseEndpoints(endpoints: string | readonly string[]): string[] {
  const list = typeof endpoints === 'string' ? endpoints.split(',') : endpoints;
  const names = list.map((name) => name.trim()).filter((name) => name !== '');
  if (names.length === 0) throw invalid('', 'endpoints is empty');
  for (const name of names) {
    const match = FORM.exec(name);
    if (match === null || Number(match[2]) < 1 || Number(match[2]) > 65_535) {
      throw invalid(name, `endpoint is ${JSON.stringify(name)}`);
    }
  }
  return [...new Set(names)];
}

function invalid(actual: string, what: string): HoldfastError {
  return new HoldfastError({
    reason: 'INVALID_FIELD',
    message: `${what}; allowed is host:port, or several with commas between, such as 127.0.0.1:7401`,
    field: 'endpoints',
    actual,
    limit: 'host:port',
  });
}

/** The host of an endpoint, an address without its brackets. */
export function hostOf(endpoint: string): string {
  return endpoint.slice(0, endpoint.lastIndexOf(':')).replace(/^\[|\]$/g, '');
}

/** Whether it is an address of IPv4 or IPv6, not a name. */
export function isAddress(host: string): boolean {
  return /^[\d.]+$|:/.test(host);
}
