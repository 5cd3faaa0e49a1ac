/** Permissions on keys, and which keys several of them cover together. Keys are binary strings. */
import { keySpan, type KeySpan } from './config-command.ts';

/** What a permission allows; numbers are those of the etcd contract. */
export const PermissionKind = { read: 0, write: 1, readwrite: 2 } as const;
export type PermissionKind = (typeof PermissionKind)[keyof typeof PermissionKind];

/** What a caller wants to do with keys. */
export type KeyUse = 'read' | 'write';

/** Which keys of a role's permission: one key; up to `rangeEnd`; with `FROM_KEY` all from `key` on. */
export interface PermissionRange {
  readonly key: string;
  /** Empty: the key alone. */
  readonly rangeEnd: string;
}

export interface Permission extends PermissionRange {
  readonly kind: PermissionKind;
}

/** A `rangeEnd` that is no end. */
export const FROM_KEY = '\0';

/** The least key: one has a byte or more. */
const FIRST_KEY = '\0';

/** All keys there can be. */
export const ALL_KEYS: KeySpan = { start: FIRST_KEY, end: undefined };

/** The keys of a range as it is written in permissions and requests of etcd. */
export function rangeSpan({ key, rangeEnd }: PermissionRange): KeySpan {
  if (rangeEnd === '') return keySpan(key);
  if (rangeEnd === FROM_KEY) return { start: key, end: undefined };
  return { start: key, end: rangeEnd };
}

/** Whether the range has an end before its start, so that it has no keys. */
export function isInverted({ key, rangeEnd }: PermissionRange): boolean {
  return rangeEnd !== '' && rangeEnd !== FROM_KEY && rangeEnd <= key;
}

/** Whether a permission says something of a use. */
export function allowsUse(kind: PermissionKind, use: KeyUse): boolean {
  return kind === PermissionKind.readwrite || (kind === PermissionKind.write) === (use === 'write');
}

/** The keys of several spans, as the fewest spans in order: what touches or overlaps is one. */
export class CoveredKeys {
  readonly #spans: readonly KeySpan[];

  constructor(spans: readonly KeySpan[]) {
    this.#spans = united(spans);
  }

  /** Whether every key of a span, there or not, is among them. */
  covers({ start, end }: KeySpan): boolean {
    if (end !== undefined && end <= start) return true; // it has none
    const span = this.#lastFrom(start === '' ? FIRST_KEY : start);
    if (span === undefined) return false;
    if (span.end === undefined) return true;
    return end !== undefined && end <= span.end;
  }

  /** The last span that begins at a key or before it. */
  #lastFrom(key: string): KeySpan | undefined {
    let [from, to] = [0, this.#spans.length];
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (this.#spans[middle]!.start <= key) from = middle + 1;
      else to = middle;
    }
    return this.#spans[from - 1];
  }
}

function united(spans: readonly KeySpan[]): KeySpan[] {
  const ordered = spans.filter(({ start, end }) => end === undefined || end > start);
  ordered.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const result: KeySpan[] = [];
  for (const span of ordered) {
    const last = result.at(-1);
    if (last === undefined || (last.end !== undefined && last.end < span.start)) result.push(span);
    else if (last.end !== undefined && (span.end === undefined || span.end > last.end))
      result[result.length - 1] = { start: last.start, end: span.end };
  }
  return result;
}
