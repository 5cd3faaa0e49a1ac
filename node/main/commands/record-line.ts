import type { ProducerRecord } from '@holdfast/client';
import { usageFailure } from '../command-failure.ts';

/**
 * The record that a line of JSON is, as `topic consume --json` shows one; of its fields key, value,
 * headers, partition and time_ms count, and null is as if it were absent. Fails as wrong usage.
 */
export function recordOfLine(line: string, number: number): ProducerRecord {
  const fail = (why: string) => usageFailure(`line ${number} ${why}. The lines before it were sent.`);
  const fields = parsed(line, fail);
  const take = (name: string, allowed: string, isAllowed: (value: unknown) => boolean): unknown => {
    const value = fields[name] ?? undefined;
    if (value === undefined || isAllowed(value)) return value;
    throw fail(`has ${name} of ${JSON.stringify(value)}, allowed is ${allowed}`);
  };
  const bytes = (name: string) => {
    const text = take(name, 'base64', isBase64) as string | undefined;
    return text === undefined ? undefined : Buffer.from(text, 'base64');
  };
  return {
    key: bytes('key_base64') ?? (take('key', 'text', isText) as string | undefined),
    value: bytes('value_base64') ?? (fields['value'] as ProducerRecord['value']),
    headers: take('headers', 'an object of texts', isTexts) as Record<string, string> | undefined,
    partition: take('partition', 'a whole number', isWhole) as number | undefined,
    timeMs: take('time_ms', 'whole ms since 1970', isWhole) as number | undefined,
  };
}

function parsed(line: string, fail: (why: string) => Error): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw fail('is not JSON');
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw fail('is not a JSON object');
  return value as Record<string, unknown>;
}

const isText = (value: unknown) => typeof value === 'string';
const isWhole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
const isBase64 = (value: unknown) => isText(value) && /^[A-Za-z0-9+/]*={0,2}$/.test(value as string);

function isTexts(value: unknown): boolean {
  return typeof value === 'object' && !Array.isArray(value) && Object.values(value as object).every(isText);
}
