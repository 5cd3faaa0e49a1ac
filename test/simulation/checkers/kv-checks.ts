/**
 * The checks of a key-value history. Linearizability implies most of the others, which say
 * more plainly what went wrong, cost next to nothing and are therefore asked first.
 *
 * A final read of a key is a get that was called after every write of the key whose
 * outcome is known had returned. Each throws `CheckFailed`.
 */
import { CheckFailed } from './check-failed.ts';
import { shownOperation, type KvOperation } from './kv-history.ts';
import { kvRegister } from './kv-register.ts';
import {
  checkLinearizable,
  requireLinearizable,
  type LinearizabilityOptions,
  type Verdict,
} from './linearizability.ts';

/** What the checks came to; keys with a time to live are left out of all of them. */
export interface KvChecked {
  readonly verdict: Verdict;
  readonly leftOut: readonly string[];
}

/** All checks. `partitionOf` names the partition of a key; without it versions are compared within keys alone. */
export function checkKvHistory(
  operations: readonly KvOperation[],
  options: LinearizabilityOptions & { readonly partitionOf?: (key: string) => string } = {},
): KvChecked {
  const leftOut = new Set(operations.filter(({ request }) => expires(request)).map(({ key }) => key));
  const checked = operations.filter(({ key }) => !leftOut.has(key));
  checkVersions(checked, options.partitionOf);
  checkAppliedOnce(checked);
  checkAcknowledgedKept(checked);
  const verdict = checkKvLinearizable(checked, options);
  requireLinearizable(verdict);
  return { verdict, leftOut: [...leftOut] };
}

/** What failed without effect, and reads without an answer, say nothing and are not looked at. */
export function checkKvLinearizable(
  operations: readonly KvOperation[],
  options?: LinearizabilityOptions,
): Verdict {
  const telling = operations.filter(
    ({ request, outcome }) =>
      outcome.kind !== 'notApplied' && (outcome.kind !== 'unknown' || request.kind !== 'get'),
  );
  return checkLinearizable(telling, kvRegister, options);
}

/** Every acknowledged write is found by the final read, unless a later, concurrent or unknown one replaced it. */
export function checkAcknowledgedKept(operations: readonly KvOperation[]): void {
  for (const ofKey of Map.groupBy(operations, ({ key }) => key).values()) {
    const writes = ofKey.filter(isWrite);
    const final = finalRead(ofKey, writes);
    if (final === undefined) continue;
    const acknowledged = writes.filter(({ returned }) => returned !== undefined);
    const newestCall = Math.max(...acknowledged.map(({ called }) => called));
    const last = acknowledged.filter(({ returned }) => returned! >= newestCall);
    const unknown = writes.filter(
      ({ returned, called }) => returned === undefined && called < final.returned!,
    );
    const isInitial = last.length === 0 && foundBy(final) === undefined;
    if (isInitial || [...last, ...unknown].some((write) => explains(write, final))) continue;
    const lines = [...last, final].map((operation) => `  ${shownOperation(operation)}`);
    throw new CheckFailed(
      'acknowledged-kept',
      last.length === 0
        ? `found what nobody wrote:\n${lines.join('\n')}`
        : `the last acknowledged writes are not what was found in the end:\n${lines.join('\n')}`,
    );
  }
}

/**
 * Keys that were only ever incremented: the final sum is that of all acknowledged
 * increments and some of the unknown, and no two were answered with the same sum.
 */
export function checkAppliedOnce(operations: readonly KvOperation[]): void {
  for (const [key, ofKey] of Map.groupBy(operations, (operation) => operation.key)) {
    const writes = ofKey.filter(isWrite);
    if (writes.length === 0 || !writes.every(({ request }) => request.kind === 'increment')) continue;
    checkSums(writes);
    const final = finalRead(ofKey, writes);
    if (final === undefined) continue;
    const found = BigInt(foundBy(final)?.value ?? 0);
    const { least, most } = possibleSums(writes);
    if (found >= least && found <= most) continue;
    const range = least === most ? String(least) : `${least} to ${most}`;
    throw new CheckFailed(
      'applied-once',
      `key ${JSON.stringify(key)} counted ${found}; what was acknowledged and unknown makes ${range}`,
    );
  }
}

/** Sums can only repeat if some increments add and others subtract. */
function checkSums(writes: readonly KvOperation[]): void {
  const deltas = writes.map(deltaOf);
  if (!deltas.every((delta) => delta > 0n) && !deltas.every((delta) => delta < 0n)) return;
  const bySum = new Map<bigint, KvOperation>();
  for (const write of writes) {
    if (write.outcome.kind !== 'applied' || write.outcome.counter === undefined) continue;
    const other = bySum.get(write.outcome.counter);
    if (other !== undefined)
      throw new CheckFailed('applied-once', `two increments with one sum:\n${shownPair(other, write)}`);
    bySum.set(write.outcome.counter, write);
  }
}

function possibleSums(writes: readonly KvOperation[]): { least: bigint; most: bigint } {
  let least = 0n;
  let most = 0n;
  for (const write of writes) {
    const delta = deltaOf(write);
    const isSure = write.returned !== undefined;
    if (isSure || delta < 0n) least += delta;
    if (isSure || delta > 0n) most += delta;
  }
  return { least, most };
}

/**
 * Versions of acknowledged writes: each is given once, and a write that was called after
 * another had returned has a greater one. Over all keys of a partition, which
 * linearizability by key does not see.
 */
export function checkVersions(
  operations: readonly KvOperation[],
  partitionOf: (key: string) => string = (key) => key,
): void {
  for (const inPartition of Map.groupBy(operations, ({ key }) => partitionOf(key)).values()) {
    const writes = inPartition.filter((operation) => versionGiven(operation) !== undefined);
    const byReturn = writes.toSorted((a, b) => a.returned! - b.returned!);
    const byCall = writes.toSorted((a, b) => a.called - b.called);
    const givenTo = new Map<number, KvOperation>();
    let newest: KvOperation | undefined;
    let at = 0;
    for (const write of byCall) {
      for (; byReturn[at]!.returned! < write.called; at++) {
        if (newest === undefined || versionGiven(newest)! < versionGiven(byReturn[at]!)!)
          newest = byReturn[at]!;
      }
      const version = versionGiven(write)!;
      const other = givenTo.get(version);
      if (other !== undefined)
        throw new CheckFailed('versions', `one version for two writes:\n${shownPair(other, write)}`);
      if (newest !== undefined && versionGiven(newest)! > version)
        throw new CheckFailed(
          'versions',
          `a later write has the smaller version:\n${shownPair(newest, write)}`,
        );
      givenTo.set(version, write);
    }
  }
}

/** Whether a write may be what a final read found. */
function explains({ request, outcome }: KvOperation, final: KvOperation): boolean {
  const found = foundBy(final);
  if (request.kind === 'delete' || request.kind === 'deleteIfVersion') return found === undefined;
  if (found === undefined) return false;
  const { version = found.version, counter } = outcome.kind === 'applied' ? outcome : {};
  if (version !== found.version && found.version !== undefined) return false;
  if ('value' in request) return request.value === found.value;
  return counter === undefined || counter.toString() === found.value;
}

/** Whether it changed the key, or may have. */
function isWrite({ request, outcome }: KvOperation): boolean {
  if (request.kind === 'get') return false;
  return outcome.kind === 'unknown' || (outcome.kind === 'applied' && outcome.existed !== false);
}

function finalRead(
  ofKey: readonly KvOperation[],
  writes: readonly KvOperation[],
): (KvOperation & { readonly returned: number | undefined }) | undefined {
  const quietFrom = Math.max(0, ...writes.map(({ returned }) => returned ?? 0));
  return ofKey.findLast(({ outcome, called }) => outcome.kind === 'read' && called > quietFrom);
}

function foundBy({
  outcome,
}: KvOperation): { readonly value: string; readonly version?: number } | undefined {
  return outcome.kind === 'read' ? outcome.found : undefined;
}

function versionGiven({ request, outcome }: KvOperation): number | undefined {
  if (outcome.kind !== 'applied' || request.kind.startsWith('delete')) return undefined;
  return outcome.version;
}

function deltaOf({ request }: KvOperation): bigint {
  return request.kind === 'increment' ? request.delta : 0n;
}

function expires(request: KvOperation['request']): boolean {
  return 'ttlMs' in request && request.ttlMs !== undefined;
}

function shownPair(first: KvOperation, second: KvOperation): string {
  return `  ${shownOperation(first)}\n  ${shownOperation(second)}`;
}
