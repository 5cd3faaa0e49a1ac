import type { Clock } from './clock.ts';
import { HoldfastError } from './error.ts';

const AVOID_MS = 2_000;

/**
 * The nodes this client may ask and which one to ask next: the first in order that has
 * not failed in the last two seconds, and when all have, the one that failed longest ago.
 */
export class Endpoints {
  readonly #clock: Clock;
  readonly #names: readonly string[];
  readonly #failedAtMs = new Map<string, number>();

  constructor(names: readonly string[], clock: Clock) {
    this.#names = names;
    this.#clock = clock;
  }

  /** All endpoints, as `host:port`. */
  get all(): readonly string[] {
    return this.#names;
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

  /** The endpoint for a call: `preferred`, unless it is avoided. */
  pick(preferred?: string): string {
    if (preferred !== undefined && !this.isAvoided(preferred)) return preferred;
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

  /** Avoid this endpoint for a while. */
  failed(name: string): void {
    this.#failedAtMs.set(name, this.#clock.monotonicMs());
  }

  /** It answered, or another node has just named it: no reason to avoid it. */
  answered(name: string): void {
    if (this.#failedAtMs.size > 0) this.#failedAtMs.delete(name);
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
