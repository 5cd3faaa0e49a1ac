/**
 * What no order of one key's operations can make good, found without a search. A search
 * would have to refute every way in which unknown operations might have helped first.
 */
import type { KvOperation } from './kv-history.ts';
import type { Contradiction } from './linearizability.ts';

/** All are necessary conditions of linearizability; a history that passes need not be linearizable. */
export function kvContradiction(operations: readonly KvOperation[]): Contradiction<KvOperation> | undefined {
  const writes = new Map<number, KvOperation>();
  const tellers = new Map<number, KvOperation>();
  for (const operation of operations) {
    const { version, value, isWrite } = toldBy(operation);
    if (version === undefined) continue;
    const write = writes.get(version);
    if (isWrite && write !== undefined)
      return { what: 'one version was given to two writes', operations: [write, operation] };
    if (isWrite) writes.set(version, operation);
    if (value === undefined) continue;
    const teller = tellers.get(version);
    if (teller === undefined) tellers.set(version, operation);
    else if (toldBy(teller).value !== value)
      return { what: 'one version has two values', operations: [teller, operation] };
  }
  return withoutSource(operations, writes);
}

/** Values read of which the write is not known: each version of them needs a write of its own. */
function withoutSource(
  operations: readonly KvOperation[],
  writes: ReadonlyMap<number, KvOperation>,
): Contradiction<KvOperation> | undefined {
  const reads = operations.filter(
    ({ outcome }) =>
      outcome.kind === 'read' && outcome.found !== undefined && !writes.has(outcome.found.version ?? -1),
  );
  for (const [value, ofValue] of Map.groupBy(reads, (read) => toldBy(read).value!)) {
    const versions = new Set(
      ofValue.map((read) => toldBy(read).version).filter((version) => version !== undefined),
    );
    const latest = Math.max(...ofValue.map(({ returned }) => returned!));
    const sources = operations.filter(
      (operation) => operation.called <= latest && mayLeave(operation, value, versions.size > 0),
    );
    if (sources.length === 0)
      return { what: 'nobody had written what was read', operations: ofValue.slice(0, 1) };
    if (sources.length < versions.size)
      return { what: 'a value has more versions than writes', operations: [...sources, ...ofValue] };
  }
  return undefined;
}

/** Whether a write may have left a value behind; with `isUntold` only one whose version was not told. */
function mayLeave(operation: KvOperation, value: string, isUntold: boolean): boolean {
  const { request, outcome } = operation;
  if (outcome.kind !== 'unknown' && outcome.kind !== 'applied') return false;
  if (isUntold && toldBy(operation).version !== undefined) return false;
  if ('value' in request) return request.value === value;
  if (request.kind !== 'increment') return false;
  const { counter } = outcome.kind === 'applied' ? outcome : {};
  return counter === undefined ? /^-?\d+$/.test(value) : counter.toString() === value;
}

/** The version and value that an operation says belong together. */
function toldBy({ request, outcome }: KvOperation): {
  readonly version?: number | undefined;
  readonly value?: string | undefined;
  readonly isWrite: boolean;
} {
  if (outcome.kind === 'read') return { ...outcome.found, isWrite: false };
  if (outcome.kind !== 'applied') return { isWrite: false };
  const value = 'value' in request ? request.value : outcome.counter?.toString();
  return { version: outcome.version, value, isWrite: true };
}
