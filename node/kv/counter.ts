/** Counters: signed 64-bit integers, stored as decimal strings so that every client can read them. */
import type { MutationOutcome, Refusal } from './kv-outcome.ts';
import type { StoredValue } from './kv-rows.ts';

const MIN = -(2n ** 63n);
const MAX = 2n ** 63n - 1n;

/** Adds to what a key holds; a missing key is 0. Without a new expiry the old one stays. */
export function addToCounter(
  current: StoredValue | undefined,
  delta: bigint,
  expiresAtMs: number | undefined,
): { value: StoredValue; outcome: MutationOutcome } | Refusal {
  const before = current === undefined ? 0n : parseCounter(current.value);
  if (before === undefined) return { refused: 'NOT_A_COUNTER' };
  const counter = before + delta;
  if (counter < MIN || counter > MAX) return { refused: 'COUNTER_OVERFLOW', actual: counter.toString() };
  return {
    value: {
      version: 0,
      expiresAtMs: expiresAtMs ?? current?.expiresAtMs,
      value: Buffer.from(counter.toString()),
    },
    outcome: { version: 0, counter, existed: undefined },
  };
}

/** The integer that a value spells in canonical decimal; undefined: it does not. */
export function parseCounter(value: Uint8Array): bigint | undefined {
  if (value.byteLength === 0 || value.byteLength > 20) return undefined;
  const text = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1');
  if (!/^(0|-?[1-9]\d*)$/.test(text)) return undefined;
  const number = BigInt(text);
  return number < MIN || number > MAX ? undefined : number;
}
