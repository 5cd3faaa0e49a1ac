import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { durationMs } from '@holdfast/client/duration';
import { HoldfastError } from '@holdfast/client/error';
import { errorFromGrpc, errorFromMessage, errorToMessage } from '@holdfast/client/error-mapping';
import { parseEndpoints } from '@holdfast/client/endpoints';
import * as codec from '@holdfast/client/pipeline-codec';
import { type Reason, REASONS, statusName } from '@holdfast/client/reasons';
import { Entry } from '@holdfast/client/entry';
import { ErrorSchema } from '@holdfast/proto/error/v1/error';
import {
  Consistency,
  PipelineCallSchema,
  PipelineRequestSchema,
  PipelineResponseSchema,
} from '@holdfast/proto/kv/v1/kv';
import fc from 'fast-check';
import { expect, test } from 'vitest';

const bytes = fc.uint8Array({ maxLength: 300 });

test('what the pipeline encodes is what the generated code reads', () => {
  const call = fc.record({
    key: bytes,
    value: bytes,
    ttl: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 315_360_000_000 })),
    kind: fc.constantFrom('put', 'create', 'get', 'increment'),
    id: fc.nat({ max: 0xffff_ffff }),
    sequence: fc.maxSafeNat(),
    open: fc.boolean(),
    timeoutMs: fc.integer({ min: 1, max: 300_000 }),
    fence: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(call, { maxLength: 20 }), fc.maxSafeNat(), (calls, acked) => {
      const encodable = calls.map((c) => {
        let operation =
          c.kind === 'get'
            ? codec.encodeGet(c.key)
            : c.kind === 'increment'
              ? codec.encodeMutation({ key: c.key, operation: { case: 'increment', value: { delta: -5n } } })
              : codec.encodePut(c.kind as 'put', c.key, c.value, c.ttl);
        if (c.fence) operation = codec.encodeFence(operation, 'lock', 3n);
        return { ...c, operation };
      });
      const request = codec.encodeRequest(Buffer.from('ks'), new Uint8Array(16), acked, encodable);
      const message = fromBinary(PipelineRequestSchema, request);
      expect(message).toMatchObject({ keyspace: 'ks', ackedBelow: BigInt(acked) });
      expect(message.calls).toHaveLength(calls.length);
      for (const [index, c] of calls.entries()) {
        const read = message.calls[index]!;
        expect(read).toMatchObject({ id: c.id, timeoutMs: c.timeoutMs, sequence: BigInt(c.sequence) });
        expect(read.open).toBe(c.open && c.sequence > 0);
        expect(read.fence?.token).toBe(c.fence ? 3n : undefined);
        expect(Buffer.from(read.operation.value!.key).equals(c.key)).toBe(true);
        if (read.operation.case !== 'mutation') continue;
        const { operation } = read.operation.value;
        expect(operation.case).toBe(c.kind);
        if (operation.case !== 'put' && operation.case !== 'create') continue;
        expect(Buffer.from(operation.value.value).equals(c.value)).toBe(true);
        expect(operation.value.ttlMs).toBe(c.ttl > 0 ? BigInt(c.ttl) : undefined);
      }
    }),
  );
});

test('what the generated code writes is what the pipeline reads', () => {
  const response = create(PipelineResponseSchema, {
    results: [
      { id: 1, result: { case: 'get', value: {} } },
      {
        id: 2,
        result: {
          case: 'get',
          value: {
            entry: { key: Buffer.from('k'), value: Buffer.from('v'), version: 1n << 40n, expiresAtMs: 5n },
          },
        },
      },
      { id: 3, result: { case: 'mutation', value: { version: 9n, counter: -3n, existed: true } } },
      {
        id: 0xffff_ffff,
        result: { case: 'error', value: { code: 10, reason: 'VERSION_MISMATCH', message: 'm' } },
      },
    ],
  });
  const answers: codec.Answer[] = [];
  codec.decodeResponse(toBinary(PipelineResponseSchema, response), (answer) => answers.push(answer));
  expect(answers[0]).toMatchObject({ id: 1, entry: undefined, error: undefined });
  expect(answers[1]!.entry).toMatchObject({ key: 'k', version: 1n << 40n, expiresAtMs: 5 });
  expect(answers[2]).toMatchObject({ version: 9n, counter: -3n, existed: true });
  expect(answers[3]!.error?.reason).toBe('VERSION_MISMATCH');
  expect(() => codec.decodeResponse(Buffer.from([0x0a, 0x7f, 1]), () => undefined)).toThrow();
});

test('an entry that is kept does not keep the message that it came in', () => {
  const entry = { key: Buffer.from('k'), value: Buffer.from('v'), version: 1n };
  const response = create(PipelineResponseSchema, {
    results: [{ id: 1, result: { case: 'get', value: { entry } } }],
  });
  const message = Buffer.from(new Uint8Array(toBinary(PipelineResponseSchema, response)).buffer);
  codec.decodeResponse(message, (answer) => {
    expect(answer.entry!.bytes.buffer).not.toBe(message.buffer);
    expect(answer.entry!.keyBytes.buffer).not.toBe(message.buffer);
  });
});

test.each(Object.keys(REASONS) as Reason[])('%s survives the way there and back', (reason) => {
  const error = new HoldfastError({
    reason,
    message: 'what was wrong',
    outcome: 'UNKNOWN',
    field: 'f',
    actual: '2',
    limit: '1',
    retryAfterMs: 30,
    currentVersion: 8n,
  });
  expect(error.code).toBe(statusName(REASONS[reason].code));
  const message = fromBinary(ErrorSchema, toBinary(ErrorSchema, errorToMessage(error)));
  const back = errorFromMessage(message);
  expect(Object.entries(back)).toEqual(Object.entries(error));
  expect(back.message).toBe(`what was wrong [${reason}]`);
});

test('reasons of newer nodes are kept; statuses without details map by code', () => {
  const newer = errorFromMessage(create(ErrorSchema, { code: 9, reason: 'NEW_THING', message: 'm' }));
  expect(newer).toMatchObject({ reason: 'NEW_THING', code: 'FAILED_PRECONDITION', message: 'm [NEW_THING]' });
  expect(errorFromGrpc({ code: 14, details: 'x' }).reason).toBe('UNAVAILABLE');
  expect(errorFromGrpc({ code: 8, details: 'x' }).reason).toBe('INTERNAL');
  const garbage = Buffer.from([255, 255]);
  expect(errorFromGrpc({ code: 4, details: 'x', statusDetails: garbage }).reason).toBe('DEADLINE_EXCEEDED');
});

test.each([
  [5, 5],
  ['500ms', 500],
  ['1.5h', 5_400_000],
  ['0.1s', 100],
  ['7d', 604_800_000],
  ['2m', 120_000],
] as const)('duration %j', (text, ms) => {
  expect(durationMs(text, 'ttl')).toBe(ms);
});

test.each(['', '5', 'h', '1 h', '-1s', '1e3s', '0.5ms', 1.5, NaN, Infinity])('no duration: %j', (text) => {
  expect(() => durationMs(text as never, 'ttl')).toThrow('INVALID_FIELD');
});

test('endpoints', () => {
  expect(parseEndpoints(' a:1, b:2,a:1')).toEqual(['a:1', 'b:2']);
  expect(parseEndpoints(['[::1]:7401'])).toEqual(['[::1]:7401']);
  for (const bad of ['', 'a', 'a:0', 'a:65536', 'http://a:1', ':1']) {
    expect(() => parseEndpoints(bad)).toThrow('INVALID_FIELD');
  }
});

test('entries: keys that are not text stay bytes', () => {
  const entry = (key: Uint8Array) => new Entry(key, Buffer.from('{"a":1}'), 1n, undefined);
  expect(entry(Buffer.from('\ufeffä')).key).toBe('\ufeffä');
  expect(entry(Uint8Array.of(0xff)).key).toEqual(Uint8Array.of(0xff));
  expect(entry(Uint8Array.of(1)).json()).toEqual({ a: 1 });
});

test('a read that may be stale says so, and how old', () => {
  const operation = codec.encodeGet(Buffer.from('k'), 90_000);
  const call = fromBinary(PipelineCallSchema, operation);
  expect(call.operation).toMatchObject({
    case: 'get',
    value: { options: { consistency: Consistency.BOUNDED_STALE, maxStalenessMs: 90_000n } },
  });
});
