/** The checker against the oracle, and against histories of a register that is in order. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { KvOperation, KvOutcome, KvRequest } from './kv-history.ts';
import { checkAcknowledgedKept, checkAppliedOnce, checkKvLinearizable, checkVersions } from './kv-checks.ts';
import { kvRegister } from './kv-register.ts';
import { drawFrom, GeneratedPartition, type Draw, type GeneratedHistory } from './kv-samples.ts';
import { LinearizabilitySearch } from './linearizability-search.ts';
import { isNaivelyLinearizable } from './naive-linearizability.ts';

const RUNS = 2_000;
const SMALL: GeneratedHistory = { operations: 6, clients: 3, keys: 2, unknownPercent: 35, values: 2 };

const value = fc.constantFrom('a', 'b', '0', '1');
const version = fc.integer({ min: 1, max: 5 });
const request: fc.Arbitrary<KvRequest> = fc.oneof(
  fc.constant<KvRequest>({ kind: 'get' }),
  fc.record({ kind: fc.constantFrom('put' as const, 'create' as const), value }),
  fc.record({ kind: fc.constant('setIfVersion' as const), expectedVersion: version, value }),
  fc.record({ kind: fc.constant('setIfValue' as const), expectedValue: value, value }),
  fc.record({ kind: fc.constant('increment' as const), delta: fc.constantFrom(1n, 2n, -1n) }),
  fc.constant<KvRequest>({ kind: 'delete' }),
  fc.record({ kind: fc.constant('deleteIfVersion' as const), expectedVersion: version }),
);

const operation: fc.Arbitrary<KvOperation> = fc
  .record({
    client: fc.constant('c'),
    key: fc.constantFrom('k', 'k', 'l'),
    request,
    called: fc.integer({ min: 1, max: 9 }),
    lasting: fc.integer({ min: 0, max: 9 }),
    isUnknown: fc.integer({ min: 0, max: 3 }).map((number) => number === 0),
    seed: fc.nat(),
  })
  .map(({ called, lasting, isUnknown, seed, ...rest }) => {
    const outcome: KvOutcome = isUnknown ? { kind: 'unknown' } : outcomeOf(rest.request, drawFrom(seed));
    return { ...rest, called, returned: isUnknown ? undefined : called + lasting, outcome };
  });

/** Some outcome that the API can give. */
function outcomeOf(asked: KvRequest, draw: Draw): KvOutcome {
  const told = draw(3) === 0 ? {} : { version: 1 + draw(5) };
  const current = draw(3) === 0 ? ('absent' as const) : 1 + draw(5);
  const isRefused = draw(3) === 0;
  switch (asked.kind) {
    case 'get':
      return {
        kind: 'read',
        found: isRefused ? undefined : { value: ['a', 'b', '0', '1'][draw(4)]!, ...told },
      };
    case 'create':
      if (isRefused) return { kind: 'refused', reason: 'KEY_EXISTS', current: 1 + draw(5) };
      break;
    case 'deleteIfVersion':
    case 'setIfVersion':
      if (isRefused) return { kind: 'refused', reason: 'VERSION_MISMATCH', current };
      break;
    case 'setIfValue':
      if (isRefused) return { kind: 'refused', reason: 'VALUE_MISMATCH', current };
      break;
    case 'increment':
      if (isRefused) return { kind: 'refused', reason: 'NOT_A_COUNTER' };
      return { kind: 'applied', counter: BigInt(draw(4)), ...told };
  }
  if (asked.kind === 'delete') return { kind: 'applied', existed: draw(2) === 0 };
  return { kind: 'applied', ...(asked.kind === 'deleteIfVersion' ? {} : told) };
}

/** The history with one result that somebody was told made another. */
function mutated(operations: readonly KvOperation[], draw: Draw): KvOperation[] {
  const known = operations.filter(({ outcome }) => outcome.kind !== 'unknown');
  const victim = known[draw(Math.max(1, known.length))];
  return operations.map((one) => (one === victim ? { ...one, outcome: other(one, operations, draw) } : one));
}

function other(
  { outcome, request: asked }: KvOperation,
  operations: readonly KvOperation[],
  draw: Draw,
): KvOutcome {
  const near = (number: number) => Math.max(1, number + [-2, -1, 1, 2][draw(4)]!);
  switch (outcome.kind) {
    case 'read': {
      const reads = operations.flatMap((one) => (one.outcome.kind === 'read' ? [one.outcome] : []));
      if (outcome.found === undefined || draw(2) === 0) return reads[draw(reads.length)]!;
      return { kind: 'read', found: { ...outcome.found, version: near(outcome.found.version ?? 1) } };
    }
    case 'applied':
      if (outcome.existed !== undefined && asked.kind === 'delete')
        return { kind: 'applied', existed: !outcome.existed };
      if (outcome.counter !== undefined) return { ...outcome, counter: outcome.counter + 1n };
      return outcome.version === undefined
        ? { kind: 'notApplied' }
        : { ...outcome, version: near(outcome.version) };
    case 'refused':
      return typeof outcome.current === 'number'
        ? { ...outcome, current: near(outcome.current) }
        : { kind: 'notApplied' };
  }
  return outcome;
}

/** How often the oracle said yes and no: a property that sees only one of them says little. */
class Tally {
  yes = 0;
  no = 0;

  compare(operations: readonly KvOperation[]): void {
    const expected = isNaivelyLinearizable(operations);
    if (expected) this.yes++;
    else this.no++;
    const { verdict } = checkKvLinearizable(operations);
    expect(verdict).toBe(expected ? 'ok' : 'violation');
    expect(isFoundBySearch(operations)).toBe(expected);
  }
}

/** The search alone, without the contradictions that are found before it. */
function isFoundBySearch(operations: readonly KvOperation[]): boolean {
  const telling = operations.filter(({ outcome }) => outcome.kind !== 'notApplied');
  return [...Map.groupBy(telling, ({ key }) => key).values()].every(
    (ofKey) => new LinearizabilitySearch(kvRegister(ofKey), ofKey, 1_000_000).run() === true,
  );
}

describe('the verdict is that of all permutations', () => {
  test('for any history', () => {
    const tally = new Tally();
    const histories = fc.array(operation, { maxLength: 6 });
    fc.assert(
      fc.property(histories, (operations) => tally.compare(operations)),
      { numRuns: RUNS },
    );
    expect(Math.min(tally.yes, tally.no)).toBeGreaterThan(RUNS / 20);
  });

  test.each([
    {},
    { forgetful: true },
    { keys: 1, operations: 7 },
    { keys: 1, operations: 7, unknownPercent: 60 },
    { keys: 3, unknownPercent: 10 },
  ])('for histories of a register with one result changed: %j', (shape) => {
    const tally = new Tally();
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const draw = drawFrom(seed);
        tally.compare(mutated(new GeneratedPartition(draw, { ...SMALL, ...shape }).run(), draw));
      }),
      { numRuns: RUNS },
    );
    expect(Math.min(tally.yes, tally.no)).toBeGreaterThan(RUNS / 20);
  });
});

describe('histories of a register are accepted', () => {
  const shapes: Partial<GeneratedHistory>[] = [
    {},
    { forgetful: true },
    { values: 3 },
    { keys: 2, clients: 12 },
  ];
  test.each(shapes)('of a hundred operations: %j', (shape) => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const { values: _, ...wide } = { ...SMALL, operations: 100, clients: 6, keys: 4 };
        const operations = new GeneratedPartition(drawFrom(seed), { ...wide, ...shape }).run();
        expect(checkKvLinearizable(operations).verdict).toBe('ok');
        checkAcknowledgedKept(operations);
        checkAppliedOnce(operations);
        checkVersions(operations, () => 'all');
      }),
      { numRuns: 200 },
    );
  });
});

/** No times here: a machine may be busy. Steps say what the search had to do. */
test('thousands of operations of many clients with many unknown outcomes are decided', () => {
  const shape = { operations: 5_000, clients: 16, keys: 10, unknownPercent: 20 };
  for (const seed of [1, 2, 3, 4]) {
    const operations = new GeneratedPartition(drawFrom(seed), shape).run();
    const verdict = checkKvLinearizable(operations);
    expect(verdict).toMatchObject({ verdict: 'ok' });
    expect(verdict.steps).toBeGreaterThan(5_000);
  }
});
