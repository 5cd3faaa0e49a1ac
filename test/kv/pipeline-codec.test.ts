/** The pipeline's own codec says what the generated code says. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { MutationSchema, PipelineRequestSchema, PipelineResponseSchema } from '@holdfast/proto/kv/v1/kv';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  answerBytes,
  decodeBatch,
  encodeAnswers,
  type PipelineAnswer,
} from '../../node/services/pipeline-codec.ts';
import { WireReader } from '../../client/wire-reader.ts';

const bytes = fc.uint8Array({ maxLength: 40 });
const u32 = fc.nat({ max: 0xffffffff });
const u53 = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const i64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const plain = (value: unknown): unknown =>
  value === undefined
    ? undefined
    : JSON.parse(
        JSON.stringify(value, (_, each: unknown) =>
          typeof each === 'bigint' ? `${each}n` : each instanceof Uint8Array ? [...each] : each,
        ),
      );

const ttl = { ttlMs: optional(i64) };
const operation = fc.oneof(
  fc.record({ value: bytes, ...ttl }).map((value) => ({ case: 'put' as const, value })),
  fc.record({ value: bytes, ...ttl }).map((value) => ({ case: 'create' as const, value })),
  fc.record({ delta: optional(i64), ...ttl }).map((value) => ({ case: 'increment' as const, value })),
  fc
    .record({
      value: bytes,
      expected: fc.record({ case: fc.constant('expectedVersion' as const), value: u53.map(BigInt) }),
    })
    .map((value) => ({ case: 'compareAndSet' as const, value })),
  fc
    .record({ expectedVersion: optional(u53.map(BigInt)) })
    .map((value) => ({ case: 'delete' as const, value })),
  fc.constant({ case: undefined }),
);
const call = fc.record({
  id: u32,
  timeoutMs: u32,
  sequence: u53.map(BigInt),
  open: fc.boolean(),
  fence: optional(fc.record({ lock: fc.string({ maxLength: 10 }), token: u53.map(BigInt) })),
  operation: fc.oneof(
    fc.record({ key: bytes, operation }).map((value) => ({ case: 'mutation' as const, value })),
    fc
      .record({ key: bytes, options: optional(fc.record({ consistency: fc.nat({ max: 2 }) })) })
      .map((value) => ({ case: 'get' as const, value })),
    fc.constant({ case: undefined }),
  ),
});
const request = fc.record({
  keyspace: fc.string({ maxLength: 20 }),
  clientId: bytes,
  ackedBelow: u53.map(BigInt),
  calls: fc.array(call, { maxLength: 5 }),
});

test('a request is decoded as the generated code decodes it', () => {
  fc.assert(
    fc.property(request, (init) => {
      const message = create(PipelineRequestSchema, init as never);
      const batch = decodeBatch(Buffer.from(toBinary(PipelineRequestSchema, message)));
      expect([batch.keyspace, [...batch.clientId], BigInt(batch.ackedBelow)]).toEqual([
        message.keyspace,
        [...message.clientId],
        message.ackedBelow,
      ]);
      expect(batch.calls).toHaveLength(message.calls.length);
      for (const [i, expected] of message.calls.entries()) {
        const actual = batch.calls[i]!;
        expect([actual.id, actual.timeoutMs, BigInt(actual.sequence), actual.open]).toEqual([
          expected.id,
          expected.timeoutMs,
          expected.sequence,
          expected.open,
        ]);
        expect(plain(actual.fence)).toEqual(plain(expected.fence));
        const { operation: wanted } = expected;
        expect([...actual.key]).toEqual([...(wanted.value?.key ?? [])]);
        expect(actual.get !== undefined).toBe(wanted.case === 'get');
        if (wanted.case === 'get') expect(plain(actual.get?.options)).toEqual(plain(wanted.value.options));
        if (wanted.case !== 'mutation') continue;
        const change = wanted.value.operation;
        if (change.case === 'put' || change.case === 'create') {
          expect(actual.put?.isCreate).toBe(change.case === 'create');
          expect([...actual.put!.value]).toEqual([...change.value.value]);
          expect(actual.put?.ttlMs).toBe(change.value.ttlMs);
        } else
          expect(toBinary(MutationSchema, actual.mutation!)).toEqual(toBinary(MutationSchema, wanted.value));
      }
    }),
    { numRuns: 500 },
  );
});

test('unknown fields are passed over', () => {
  const known = toBinary(PipelineRequestSchema, create(PipelineRequestSchema, { keyspace: 'k' }));
  const unknown = [
    0xf8, 0x7f, 1, 0xf1, 0x7f, 1, 2, 3, 4, 5, 6, 7, 8, 0xfa, 0x7f, 2, 9, 9, 0xfd, 0x7f, 1, 2, 3, 4,
  ];
  expect(decodeBatch(Buffer.from([...unknown, ...known])).keyspace).toBe('k');
});

test('bytes that are no request are refused, whatever they are, and never read past', () => {
  let refused = 0;
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), (garbage) => {
      try {
        decodeBatch(Buffer.from(garbage));
      } catch {
        refused++;
      }
    }),
    { numRuns: 2_000 },
  );
  expect(refused).toBeGreaterThan(1_000);
  expect(() => new WireReader(Buffer.alloc(12, 0xff)).varint()).toThrow(RangeError);
  const whole = Buffer.from(
    toBinary(
      PipelineRequestSchema,
      create(PipelineRequestSchema, {
        calls: [{ id: 1, operation: { case: 'get', value: { key: Buffer.from('key') } } }],
      }),
    ),
  );
  for (let length = 1; length < whole.length; length++)
    expect(() => decodeBatch(whole.subarray(0, length)), String(length)).toThrow();
});

const answer: fc.Arbitrary<PipelineAnswer> = fc.oneof(
  fc.record({
    id: u32,
    kind: fc.constant('get' as const),
    key: bytes,
    found: optional(
      fc.record({ version: u53, expiresAtMs: optional(u53), value: fc.uint8Array({ maxLength: 300 }) }),
    ),
  }),
  fc.record({
    id: u32,
    kind: fc.constant('mutation' as const),
    outcome: fc.record({ version: u53, counter: optional(i64), existed: optional(fc.boolean()) }),
  }),
  fc.record({
    id: u32,
    kind: fc.constant('error' as const),
    error: fc.constant(Uint8Array.of(0x08, 3, 0x12, 1, 0x52)),
  }),
);

test('answers are read by the generated code as they were meant', () => {
  fc.assert(
    fc.property(fc.array(answer, { maxLength: 8 }), (answers) => {
      const capacity = answers.reduce((sum, each) => sum + answerBytes(each), 0);
      const encoded = encodeAnswers(answers, capacity);
      expect(encoded.length).toBeLessThanOrEqual(capacity);
      const { results } = fromBinary(PipelineResponseSchema, encoded);
      expect(results).toHaveLength(answers.length);
      for (const [i, { id, result }] of results.entries()) {
        const wanted = answers[i]!;
        expect(id).toBe(wanted.id);
        if (wanted.kind === 'mutation') {
          const { version, counter, existed } = wanted.outcome;
          expect(plain(result.value)).toEqual(
            plain({ $typeName: 'holdfast.kv.v1.MutationResult', version: BigInt(version), counter, existed }),
          );
        } else if (wanted.kind === 'error')
          expect(result).toMatchObject({ case: 'error', value: { code: 3, reason: 'R' } });
        else {
          const entry = result.case === 'get' ? result.value.entry : undefined;
          expect(entry === undefined).toBe(wanted.found === undefined);
          if (wanted.found === undefined || entry === undefined) continue;
          expect([[...entry.key], [...entry.value], entry.version, entry.expiresAtMs]).toEqual([
            [...wanted.key],
            [...wanted.found.value],
            BigInt(wanted.found.version),
            wanted.found.expiresAtMs === undefined ? undefined : BigInt(wanted.found.expiresAtMs),
          ]);
        }
      }
    }),
    { numRuns: 500 },
  );
});
