/**
 * The oracle: tries every order of every selection of unknown operations over all keys at
 * once, and plays each against an array of writes. Shares no code with the checker.
 */
import type { KvOperation } from './kv-history.ts';

/** A write in the order played; `version` is what somebody was told of it. */
interface Write {
  readonly key: string;
  /** Undefined: a delete. */
  readonly value: string | undefined;
  version: number | undefined;
}

export function isNaivelyLinearizable(operations: readonly KvOperation[]): boolean {
  return canFollow([], operations);
}

function canFollow(order: readonly KvOperation[], left: readonly KvOperation[]): boolean {
  if (left.every(({ returned }) => returned === undefined) && isPossible(order)) return true;
  return left.some((next) => {
    if (left.some(({ returned }) => returned !== undefined && returned < next.called)) return false;
    const longer = [...order, next];
    if (!isPossible(longer)) return false;
    return canFollow(
      longer,
      left.filter((other) => other !== next),
    );
  });
}

function isPossible(order: readonly KvOperation[]): boolean {
  const writes: Write[] = [];
  return order.every((operation) => play(writes, operation)) && versionsGrow(writes);
}

function versionsGrow(writes: readonly Write[]): boolean {
  const keys = new Set(writes.map(({ key }) => key));
  return [...keys].every((key) => {
    const versions = writes.filter((write) => write.key === key).map(({ version }) => version);
    const known = versions.filter((version) => version !== undefined);
    return known.every((version, at) => version > (at === 0 ? 0 : known[at - 1]!));
  });
}

/** Whether an operation may come out as it did; for an unknown one, whether it changes anything. */
function play(writes: Write[], { key, request, outcome }: KvOperation): boolean {
  const last = writes.findLast((write) => write.key === key);
  const current = last?.value === undefined ? undefined : last;
  const sees = (version: number | undefined) => {
    if (current === undefined || version === undefined) return current !== undefined;
    current.version ??= version;
    return current.version === version;
  };
  const write = (value: string | undefined) => {
    writes.push({ key, value, version: outcome.kind === 'applied' ? outcome.version : undefined });
    return true;
  };
  if (outcome.kind === 'notApplied') return true;
  if (outcome.kind === 'read') {
    if (outcome.found === undefined || current === undefined) return outcome.found === current;
    return current.value === outcome.found.value && sees(outcome.found.version);
  }
  const refusedFor = outcome.kind === 'refused' ? outcome.reason : undefined;
  const isAsRefused = () => {
    const seen = outcome.kind === 'refused' ? outcome.current : undefined;
    if (seen === undefined) return true;
    return seen === 'absent' ? current === undefined : sees(seen);
  };
  switch (request.kind) {
    case 'get':
      return false;
    case 'put':
      return refusedFor === undefined && write(request.value);
    case 'create':
      if (refusedFor !== undefined)
        return refusedFor === 'KEY_EXISTS' && current !== undefined && isAsRefused();
      return current === undefined && write(request.value);
    case 'setIfVersion':
    case 'deleteIfVersion':
      if (refusedFor !== undefined) {
        const isRight = refusedFor === 'VERSION_MISMATCH' && isAsRefused();
        return isRight && current?.version !== request.expectedVersion;
      }
      if (outcome.kind === 'applied' && outcome.existed === false) return false;
      return sees(request.expectedVersion) && write('value' in request ? request.value : undefined);
    case 'setIfValue':
      if (refusedFor !== undefined) {
        const isRight = refusedFor === 'VALUE_MISMATCH' && isAsRefused();
        return isRight && current?.value !== request.expectedValue;
      }
      return current?.value === request.expectedValue && write(request.value);
    case 'delete':
      if (refusedFor !== undefined) return false;
      if (
        outcome.kind === 'applied' &&
        (outcome.existed ?? current !== undefined) !== (current !== undefined)
      )
        return false;
      return write(undefined);
    case 'increment': {
      const isNumber = current === undefined || !Number.isNaN(Number(current.value));
      if (refusedFor !== undefined) return refusedFor === 'NOT_A_COUNTER' && !isNumber && isAsRefused();
      if (!isNumber) return false;
      const sum = BigInt(current?.value ?? 0) + request.delta;
      if (outcome.kind === 'applied' && (outcome.counter ?? sum) !== sum) return false;
      return write(String(sum));
    }
  }
}
