/**
 * One key of a keyspace as a sequence of operations, for the linearizability search.
 *
 * Versions are those of the partition: each write takes a greater one, and so does a
 * delete, which does not tell it. One key therefore sees them grow, with gaps. The version of a write
 * of unknown outcome is not known until somebody sees it; until then all that is known is
 * that it is above every one before.
 *
 * What is not in it: time to live (a key with one is left out, see `kv-checks.ts`), locks'
 * tokens, transactions, and reads that ask for bounded staleness.
 */
import { kvContradiction } from './kv-contradictions.ts';
import { shownOperation, shownValue, type KvOperation, type KvRequest, type KvResult } from './kv-history.ts';
import type { ShownModel } from './linearizability.ts';

export interface KvState {
  readonly value: string | undefined;
  /** Of the value; undefined: not known, or there is no value. */
  readonly version: number | undefined;
  /** The greatest version known so far. */
  readonly floor: number;
}

const EMPTY: KvState = { value: undefined, version: undefined, floor: 0 };
const MIN = -(2n ** 63n);
const MAX = 2n ** 63n - 1n;

/** The model of a key, from all operations on it. */
export function kvRegister(operations: readonly KvOperation[]): ShownModel<KvState, KvOperation> {
  const observed = observedValues(operations);
  const given = new Set(operations.map(versionGiven));
  return {
    init: () => EMPTY,
    step: (state, operation) =>
      isUnbound(state) && given.has(versionSeen(operation) ?? -1) ? undefined : step(state, operation),
    key: ({ value, version, floor }) => `${floor} ${version ?? '?'} ${shownTo(observed, value)}`,
    isRead: ({ outcome }) => outcome.kind === 'read' || outcome.kind === 'refused' || isEmptyDelete(outcome),
    alike: (operation) => alike(operation, observed),
    helps: (unknown, next) => helps(unknown.request, next),
    isPast: ({ version, floor }, { request }) =>
      'expectedVersion' in request && request.expectedVersion <= floor && request.expectedVersion !== version,
    rank,
    contradiction: kvContradiction,
    showState: ({ value, version }) => shownValue(value, version),
    showOperation: shownOperation,
  };
}

/** The state after an operation; undefined: it is not possible. */
export function step(state: KvState, { request, outcome }: KvOperation): KvState | undefined {
  switch (outcome.kind) {
    case 'read':
      return outcome.found === undefined
        ? absent(state)
        : having(holding(state, outcome.found.value), outcome.found.version);
    case 'refused':
      return refused(state, request, outcome);
    case 'applied':
      return applied(state, request, outcome);
    case 'unknown':
      return applied(state, request, { kind: 'applied' });
    case 'notApplied':
      return state;
  }
}

function applied(
  state: KvState,
  request: KvRequest,
  { version, counter, existed }: Extract<KvResult, { kind: 'applied' }>,
): KvState | undefined {
  switch (request.kind) {
    case 'get':
      return undefined;
    case 'put':
      return written(state, request.value, version);
    case 'create':
      return written(absent(state), request.value, version);
    case 'setIfVersion':
      return written(having(state, request.expectedVersion), request.value, version);
    case 'setIfValue':
      return written(holding(state, request.expectedValue), request.value, version);
    case 'increment': {
      const sum = sumOf(state, request.delta);
      if (sum === undefined || !inRange(sum) || (counter ?? sum) !== sum) return undefined;
      return written(state, sum.toString(), version);
    }
    case 'delete':
      if ((existed ?? state.value !== undefined) !== (state.value !== undefined)) return undefined;
      return removed(state);
    case 'deleteIfVersion':
      return existed === false ? undefined : removed(having(state, request.expectedVersion));
  }
}

function refused(
  state: KvState,
  request: KvRequest,
  { reason, current }: Extract<KvResult, { kind: 'refused' }>,
): KvState | undefined {
  switch (reason) {
    case 'KEY_EXISTS':
      return request.kind === 'create' ? present(being(state, current)) : undefined;
    case 'VERSION_MISMATCH': {
      if (request.kind !== 'setIfVersion' && request.kind !== 'deleteIfVersion') return undefined;
      const seen = being(state, current);
      return seen?.value !== undefined && seen.version === request.expectedVersion ? undefined : seen;
    }
    case 'VALUE_MISMATCH':
      if (request.kind !== 'setIfValue' || state.value === request.expectedValue) return undefined;
      return being(state, current);
    case 'NOT_A_COUNTER':
      return request.kind === 'increment' && sumOf(state, 0n) === undefined
        ? being(state, current)
        : undefined;
    case 'COUNTER_OVERFLOW': {
      const sum = request.kind === 'increment' ? sumOf(state, request.delta) : undefined;
      return sum === undefined || inRange(sum) ? undefined : being(state, current);
    }
  }
}

function absent(state: KvState): KvState | undefined {
  return state.value === undefined ? state : undefined;
}

function present(state: KvState | undefined): KvState | undefined {
  return state?.value === undefined ? undefined : state;
}

function holding(state: KvState, value: string): KvState | undefined {
  return state.value === value ? state : undefined;
}

/** The state if its value has this version; a version that was not known yet is from now on. */
function having(state: KvState | undefined, version: number | undefined): KvState | undefined {
  if (state?.value === undefined) return undefined;
  if (version === undefined || state.version === version) return state;
  if (state.version !== undefined || version <= state.floor) return undefined;
  return { value: state.value, version, floor: version };
}

/** The state if it is as a refusal says. */
function being(state: KvState, current: number | 'absent' | undefined): KvState | undefined {
  if (current === undefined) return state;
  return current === 'absent' ? absent(state) : having(state, current);
}

function written(
  state: KvState | undefined,
  value: string,
  version: number | undefined,
): KvState | undefined {
  if (state === undefined || (version !== undefined && version <= state.floor)) return undefined;
  return { value, version, floor: version ?? state.floor };
}

function removed(state: KvState | undefined): KvState | undefined {
  return state && { value: undefined, version: undefined, floor: state.floor };
}

/** Undefined: not a counter. */
function sumOf({ value }: KvState, delta: bigint): bigint | undefined {
  if (value === undefined) return delta;
  if (!isCounter(value)) return undefined;
  const sum = BigInt(value);
  return inRange(sum) ? sum + delta : undefined;
}

function isCounter(value: string): boolean {
  return /^(0|-?[1-9]\d*)$/.test(value);
}

function inRange(value: bigint): boolean {
  return value >= MIN && value <= MAX;
}

function isEmptyDelete(outcome: KvOperation['outcome']): boolean {
  return outcome.kind === 'applied' && outcome.existed === false;
}

/**
 * Versions that an operation gave or saw: one that saw version 5 is before any that saw 6.
 * Only an unknown write has none, or who was not told.
 */
function rank({ request, outcome }: KvOperation): number | undefined {
  switch (outcome.kind) {
    case 'read':
      return outcome.found?.version;
    case 'refused':
      return typeof outcome.current === 'number' ? outcome.current : undefined;
    case 'applied':
      if (request.kind === 'deleteIfVersion') return request.expectedVersion;
      return request.kind === 'delete' ? undefined : outcome.version;
  }
  return undefined;
}

/** A value whose version is not known yet: an unknown write's, and so none that was given to an acknowledged one. */
function isUnbound({ value, version }: KvState): boolean {
  return value !== undefined && version === undefined;
}

/** The version told to the writer; 0: none. */
function versionGiven({ request, outcome }: KvOperation): number {
  if (outcome.kind !== 'applied' || !('value' in request || 'delta' in request)) return 0;
  return outcome.version ?? 0;
}

/** The version that the key had before an operation; undefined: it does not say. */
function versionSeen({ request, outcome }: KvOperation): number | undefined {
  if (outcome.kind === 'read') return outcome.found?.version;
  if (outcome.kind === 'refused') return typeof outcome.current === 'number' ? outcome.current : undefined;
  return 'expectedVersion' in request ? request.expectedVersion : undefined;
}

/** What the operations of a key tell values apart by. */
interface Observed {
  /** Read, or compared with. */
  readonly values: ReadonlySet<string>;
  /** Whether numbers make a difference. */
  readonly counts: boolean;
  /** Numbers above it stay above it, and none was observed; undefined: that cannot be said. */
  readonly greatest: bigint | undefined;
}

function observedValues(operations: readonly KvOperation[]): Observed {
  const values = new Set<string>();
  const deltas: bigint[] = [];
  for (const { request, outcome } of operations) {
    if (outcome.kind === 'read' && outcome.found !== undefined) values.add(outcome.found.value);
    if (request.kind === 'setIfValue') values.add(request.expectedValue);
    if (request.kind !== 'increment') continue;
    deltas.push(request.delta);
    if (outcome.kind === 'applied' && outcome.counter !== undefined)
      values.add((outcome.counter - request.delta).toString());
  }
  const canFall = deltas.some((delta) => delta < 0n);
  const canOverflow = operations.some(
    ({ request, outcome }) =>
      (outcome.kind === 'refused' && outcome.reason === 'COUNTER_OVERFLOW') ||
      ('value' in request && request.value.length > 18) ||
      ('delta' in request && request.delta > 2n ** 32n),
  );
  const numbers = [...values].filter(isCounter).map(BigInt);
  const greatest = numbers.reduce((least, number) => (number > least ? number : least), -1n);
  return { values, counts: deltas.length > 0, greatest: canFall || canOverflow ? undefined : greatest };
}

/** A value as the operations of the key can tell it from others. */
function shownTo({ values, counts, greatest }: Observed, value: string | undefined): string {
  if (value === undefined) return '';
  if (values.has(value)) return `=${value}`;
  if (!counts || !isCounter(value)) return 'unseen';
  return greatest !== undefined && BigInt(value) > greatest ? 'unseen number' : `=${value}`;
}

/**
 * Two unknown writes of values that nobody saw or compared with are alike: whoever learns
 * that there is a value, or its version, learns the same of both. They cannot be dropped,
 * because a delete may have found one and a create been refused for it. To an increment
 * all that are not numbers are alike.
 */
function alike({ request }: KvOperation, observed: Observed): string {
  const condition =
    'expectedVersion' in request
      ? `${request.expectedVersion}`
      : 'expectedValue' in request
        ? `=${request.expectedValue}`
        : '';
  const write = `${request.kind} ${JSON.stringify(condition)}`;
  if ('delta' in request) return `${write} ${request.delta}`;
  if (!('value' in request)) return write;
  return `${write} ${shownTo(observed, request.value)}`;
}

/**
 * Whether an unknown write may be what the next operation on the key needs: what it leaves
 * behind is a value of unknown version, or nothing. Nothing before a blind write helps it,
 * nor an unknown delete, which leaves the same behind whatever was there.
 */
function helps(unknown: KvRequest, { request, outcome }: KvOperation): boolean {
  if (outcome.kind === 'read') return leaves(unknown, outcome.found?.value);
  if (outcome.kind === 'refused') return outcome.current !== 'absent' || leaves(unknown, undefined);
  switch (request.kind) {
    case 'put':
    case 'get':
      return false;
    case 'create':
      return leaves(unknown, undefined);
    case 'setIfValue':
      return leaves(unknown, request.expectedValue);
    case 'setIfVersion':
    case 'deleteIfVersion':
      return !leaves(unknown, undefined);
    case 'delete':
      if (outcome.kind !== 'applied' || outcome.existed === undefined) return false;
      return leaves(unknown, undefined) !== outcome.existed;
    case 'increment': {
      if (outcome.kind !== 'applied' || outcome.counter === undefined) return true;
      const before = outcome.counter - request.delta;
      return leaves(unknown, before.toString()) || (before === 0n && leaves(unknown, undefined));
    }
  }
}

/** Whether a write may leave a value behind; undefined: nothing. */
function leaves(request: KvRequest, value: string | undefined): boolean {
  if ('value' in request) return request.value === value;
  if (request.kind === 'increment') return value !== undefined && isCounter(value);
  return value === undefined;
}
