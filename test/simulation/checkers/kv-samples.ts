/** Histories for the tests of the checkers: written by hand, and of a register that is in order. */
import type { KvOperation, KvOutcome, KvRequest } from './kv-history.ts';

const UNKNOWN: KvOutcome = { kind: 'unknown' };

/** `[called, returned]` of an operation, or `[called]`. */
type Span = readonly [number, number?];

function operation(
  span: Span,
  client: string,
  request: KvRequest,
  outcome: KvOutcome,
  key = 'k',
): KvOperation {
  const returned = outcome.kind === 'unknown' ? undefined : span[1];
  return { client, key, request, called: span[0], returned, outcome };
}

function applied(version: number | undefined): KvOutcome {
  return version === undefined ? UNKNOWN : { kind: 'applied', version };
}

/** Operations on the key `k`. A write without a version is unknown. */
export const sample = {
  get: (span: Span, client: string, value?: string, version?: number) =>
    operation(
      span,
      client,
      { kind: 'get' },
      {
        kind: 'read',
        found: value === undefined ? undefined : { value, ...(version !== undefined && { version }) },
      },
    ),
  put: (span: Span, client: string, value: string, version?: number) =>
    operation(span, client, { kind: 'put', value }, applied(version)),
  create: (span: Span, client: string, value: string, version?: number) =>
    operation(span, client, { kind: 'create', value }, applied(version)),
  exists: (span: Span, client: string, value: string, current: number) =>
    operation(span, client, { kind: 'create', value }, { kind: 'refused', reason: 'KEY_EXISTS', current }),
  set: (span: Span, client: string, expectedVersion: number, value: string, version?: number) =>
    operation(span, client, { kind: 'setIfVersion', expectedVersion, value }, applied(version)),
  mismatch: (
    span: Span,
    client: string,
    expectedVersion: number,
    value: string,
    current: number | 'absent',
  ) =>
    operation(
      span,
      client,
      { kind: 'setIfVersion', expectedVersion, value },
      { kind: 'refused', reason: 'VERSION_MISMATCH', current },
    ),
  setValue: (span: Span, client: string, expectedValue: string, value: string, version?: number) =>
    operation(span, client, { kind: 'setIfValue', expectedValue, value }, applied(version)),
  increment: (span: Span, client: string, delta: bigint, counter?: bigint) =>
    operation(
      span,
      client,
      { kind: 'increment', delta },
      counter === undefined ? UNKNOWN : { kind: 'applied', counter },
    ),
  noCounter: (span: Span, client: string) =>
    operation(span, client, { kind: 'increment', delta: 1n }, { kind: 'refused', reason: 'NOT_A_COUNTER' }),
  delete: (span: Span, client: string, existed?: boolean) =>
    operation(
      span,
      client,
      { kind: 'delete' },
      existed === undefined ? UNKNOWN : { kind: 'applied', existed },
    ),
  deleteVersion: (span: Span, client: string, expectedVersion: number) =>
    operation(span, client, { kind: 'deleteIfVersion', expectedVersion }, { kind: 'applied', existed: true }),
  notApplied: (span: Span, client: string, value: string) =>
    operation(span, client, { kind: 'put', value }, { kind: 'notApplied' }),
} as const;

/** Draws a number from 0 up to but without a bound. */
export type Draw = (bound: number) => number;

/** A small generator of numbers from a seed (mulberry32). */
export function drawFrom(seed: number): Draw {
  let state = seed | 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

export interface GeneratedHistory {
  readonly operations: number;
  readonly clients: number;
  readonly keys: number;
  /** Of a hundred operations so many have an unknown outcome. */
  readonly unknownPercent: number;
  /** Values are `v0` up to this, and counters; undefined: each value is written once. */
  readonly values?: number;
  /** Also leave versions away here and there. */
  readonly forgetful?: boolean;
}

interface Stored {
  value: string;
  version: number;
}

interface Open {
  readonly at: number;
  readonly client: number;
  readonly isUnknown: boolean;
  outcome: KvOutcome | undefined;
}

/** What clients see of a real partition whose operations take effect at random moments after their calls. */
export class GeneratedPartition {
  readonly #draw: Draw;
  readonly #shape: GeneratedHistory;
  readonly #stored = new Map<string, Stored>();
  readonly #operations: KvOperation[] = [];
  #open: Open[] = [];
  #version = 0;
  #time = 0;

  constructor(draw: Draw, shape: GeneratedHistory) {
    this.#draw = draw;
    this.#shape = shape;
  }

  run(): KvOperation[] {
    const { operations, clients } = this.#shape;
    while (this.#operations.length < operations || this.#open.some(({ isUnknown }) => !isUnknown)) {
      this.#time++;
      const client = this.#draw(clients);
      const open = this.#open.find((one) => one.client === client && !one.isUnknown);
      if (open === undefined) {
        if (this.#operations.length < operations) this.#call(client);
      } else if (open.outcome === undefined) this.#takeEffect(open);
      else this.#answer(open);
      const late = this.#open[this.#draw(50)];
      if (late?.isUnknown) this.#takeEffect(late);
    }
    return this.#operations;
  }

  #call(client: number): void {
    const key = `k${this.#draw(this.#shape.keys)}`;
    const request = this.#request(this.#stored.get(key));
    const isUnknown = this.#draw(100) < this.#shape.unknownPercent;
    const at = this.#operations.length;
    this.#operations.push(operation([this.#time], `c${client}`, request, UNKNOWN, key));
    this.#open.push({ at, client, isUnknown, outcome: undefined });
  }

  #request(stored: Stored | undefined): KvRequest {
    const value =
      this.#shape.values === undefined ? `v${this.#operations.length}` : `v${this.#draw(this.#shape.values)}`;
    const expectedVersion = stored?.version ?? 1 + this.#draw(3);
    switch (this.#draw(12)) {
      case 0:
        return { kind: 'delete' };
      case 1:
        return { kind: 'create', value };
      case 2:
        return { kind: 'setIfVersion', expectedVersion, value };
      case 3:
        return { kind: 'setIfValue', expectedValue: stored?.value ?? value, value };
      case 4:
        return { kind: 'increment', delta: BigInt(1 + this.#draw(2)) };
      case 5:
        return { kind: 'put', value: String(this.#draw(3)) };
      case 6:
        return { kind: 'deleteIfVersion', expectedVersion };
      case 7:
      case 8:
      case 9:
        return { kind: 'put', value };
    }
    return { kind: 'get' };
  }

  #answer(open: Open): void {
    const { called, client, request, key } = this.#operations[open.at]!;
    this.#operations[open.at] = operation([called, this.#time], client, request, open.outcome!, key);
    this.#open = this.#open.filter((one) => one !== open);
  }

  #takeEffect(open: Open): void {
    const { request, key } = this.#operations[open.at]!;
    open.outcome = this.#forget(this.#outcome(key, request));
    if (open.isUnknown) this.#open = this.#open.filter((one) => one !== open);
  }

  #forget(outcome: KvOutcome): KvOutcome {
    if (!this.#shape.forgetful || outcome.kind !== 'applied' || this.#draw(2) === 0) return outcome;
    const { version: _, ...rest } = outcome;
    return rest;
  }

  #outcome(key: string, request: KvRequest): KvOutcome {
    const stored = this.#stored.get(key);
    const current = stored?.version ?? 'absent';
    switch (request.kind) {
      case 'get':
        return { kind: 'read', found: stored && { ...stored } };
      case 'put':
        return this.#write(key, request.value);
      case 'create':
        if (stored !== undefined) return { kind: 'refused', reason: 'KEY_EXISTS', current };
        return this.#write(key, request.value);
      case 'setIfVersion':
        if (stored?.version === request.expectedVersion) return this.#write(key, request.value);
        return { kind: 'refused', reason: 'VERSION_MISMATCH', current };
      case 'setIfValue':
        if (stored?.value === request.expectedValue) return this.#write(key, request.value);
        return { kind: 'refused', reason: 'VALUE_MISMATCH', current };
      case 'increment': {
        if (stored?.value.startsWith('v')) return { kind: 'refused', reason: 'NOT_A_COUNTER' };
        const counter = BigInt(stored?.value ?? 0) + request.delta;
        return { ...this.#write(key, String(counter)), counter };
      }
      case 'delete':
        return this.#remove(key, stored !== undefined);
      case 'deleteIfVersion':
        if (stored?.version === request.expectedVersion) return this.#remove(key, true);
        return { kind: 'refused', reason: 'VERSION_MISMATCH', current };
    }
  }

  #write(key: string, value: string): { readonly kind: 'applied'; readonly version: number } {
    const version = ++this.#version;
    this.#stored.set(key, { value, version });
    return { kind: 'applied', version };
  }

  #remove(key: string, existed: boolean): KvOutcome {
    if (existed) this.#version++;
    this.#stored.delete(key);
    return { kind: 'applied', existed };
  }
}
