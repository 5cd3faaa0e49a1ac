import { HoldfastError } from './error.ts';
import { invalid } from './values.ts';

/**
 * A length of time: milliseconds as a number, or a number with a unit: `'500ms'`,
 * `'30s'`, `'5m'`, `'1h'`, `'7d'`. Fractions are allowed with a unit (`'1.5h'`) as long
 * as they come to whole milliseconds.
 */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`;

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const FORM = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** Milliseconds of a duration; INVALID_FIELD naming `field` if it is not one. May be negative if a number. */
export function durationMs(duration: Duration, field: string): number {
  const ms = typeof duration === 'number' ? duration : parse(duration);
  if (Number.isSafeInteger(ms)) return ms;
  const allowed = "whole milliseconds, or text like '500ms', '30s', '5m', '1h', '7d'";
  throw invalid(field, `${field} is ${JSON.stringify(duration)}; allowed are ${allowed}`, String(duration));
}

function parse(text: string): number {
  const match = FORM.exec(text);
  if (match === null) return NaN;
  const ms = Number(match[1]) * UNIT_MS[match[2]!]!;
  // 0.1 s is 100.00000000000001 ms in binary fractions of some amounts.
  const whole = Math.round(ms);
  return Math.abs(ms - whole) < 1e-6 ? whole : NaN;
}

const MAX_TIMEOUT_MS = 300_000;

/** Milliseconds of a call's time; INVALID_FIELD outside 1 ms to 5 min (a node must remember a client longer). */
export function timeoutMs(timeout: Duration): number {
  const ms = durationMs(timeout, 'timeout');
  if (ms >= 1 && ms <= MAX_TIMEOUT_MS) return ms;
  throw invalid('timeout', `timeout is ${ms} ms, allowed 1 to ${MAX_TIMEOUT_MS}`, String(ms), '1..300000');
}

const MAX_STALENESS_MS = 3_600_000;

/** Milliseconds that a read may lag behind; INVALID_FIELD outside 1 ms to an hour. */
export function stalenessMs(staleness: Duration): number {
  const ms = durationMs(staleness, 'maxStaleness');
  if (ms >= 1 && ms <= MAX_STALENESS_MS) return ms;
  const message = `maxStaleness is ${ms} ms, allowed 1 to ${MAX_STALENESS_MS}`;
  throw invalid('maxStaleness', message, String(ms), '1..3600000');
}

/** Longest time to live: ten years. */
export const MAX_TTL_MS = 315_360_000_000;

/** Milliseconds of a time to live; TTL_OUT_OF_RANGE outside 1 ms to ten years. Nothing was written then. */
export function ttlMs(ttl: Duration | undefined): number | undefined {
  if (ttl === undefined) return undefined;
  const ms = durationMs(ttl, 'ttl');
  if (ms >= 1 && ms <= MAX_TTL_MS) return ms;
  throw new HoldfastError({
    reason: 'TTL_OUT_OF_RANGE',
    message: `ttl is ${ms} ms, allowed 1 to ${MAX_TTL_MS} (ten years). Nothing was written.`,
    outcome: 'NOT_APPLIED',
    field: 'ttl_ms',
    actual: String(ms),
    limit: `1..${MAX_TTL_MS}`,
  });
}
