import { InvalidArgumentError } from 'commander';

// Parsers of option values. They decide what can be understood at all; whether a value is
// allowed (a TTL of -5 s is understood, but refused) is for the client and the cluster.

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds of `500ms`, `30s`, `5m`, `1h`, `7d` or a bare number of milliseconds. */
export function duration(text: string): number {
  const match = /^(-?\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text);
  const ms = match === null ? NaN : Number(match[1]) * UNIT_MS[match[2] ?? 'ms']!;
  const whole = Math.round(ms);
  if (Number.isSafeInteger(whole) && Math.abs(ms - whole) < 1e-6) return whole;
  throw new InvalidArgumentError('Allowed are 500ms, 30s, 5m, 1h, 7d, or whole milliseconds.');
}

/** Time of a call: 1 ms to 5 min. */
export function timeout(text: string): number {
  const ms = duration(text);
  if (ms >= 1 && ms <= 300_000) return ms;
  throw new InvalidArgumentError('Allowed are 1ms to 5m.');
}

/** A whole number of 64 bits. */
export function integer(text: string): bigint {
  const value = /^[+-]?\d{1,19}$/.test(text) ? BigInt(text.replace('+', '')) : undefined;
  if (value !== undefined && BigInt.asIntN(64, value) === value) return value;
  throw new InvalidArgumentError('Allowed are whole numbers of 64 bits.');
}

/** A version of a key. */
export function version(text: string): bigint {
  const value = /^\d{1,20}$/.test(text) ? BigInt(text) : 0n;
  if (value > 0n && BigInt.asUintN(64, value) === value) return value;
  throw new InvalidArgumentError('Allowed are the versions that get, put and scan --json show.');
}

/** A revision, or the number of a lease. */
export function revision(text: string): bigint {
  const value = /^\d{1,19}$/.test(text) ? BigInt(text) : -1n;
  if (value >= 0n && BigInt.asUintN(63, value) === value) return value;
  throw new InvalidArgumentError('Allowed are whole numbers.');
}

/** A count from 1 to 4294967295. */
export function count(text: string): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= 0xffff_ffff) return value;
  throw new InvalidArgumentError('Allowed are whole numbers from 1 to 4294967295.');
}

/** A moment. */
export function time(text: string): Date {
  const form = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2}))?$/;
  const ms = form.test(text) ? Date.parse(text) : NaN;
  if (Number.isSafeInteger(ms) && ms >= 0) return new Date(ms);
  throw new InvalidArgumentError('Allowed is a time with its zone, such as 2026-11-22T10:00:00Z.');
}
