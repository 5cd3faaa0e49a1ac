import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { connect, HoldfastError } from '@holdfast/client';
import { errorToMessage } from '@holdfast/client/error-mapping';
import {
  type Call,
  ConfigService,
  type ListRequest,
  ListResponseSchema,
  type PipelineRequest,
  type PipelineResponse,
  PipelineRequestSchema,
  PipelineResponseSchema,
} from '@holdfast/proto/config/v1/config';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { StreamConnection, StreamEvents } from '../../client/transport.ts';
import { FakeClock, FakeTransport, fixedRandom } from './fake-ports.ts';

type Answer = HoldfastError | { case: 'get' | 'put' | 'delete' | 'transact'; value: object };

/** Answers as a tree would that has all keys at revision 7. */
function usual({ call }: Call): Answer {
  const entry = { key: Buffer.from('k'), value: Buffer.from('"v"'), modRevision: 7n, version: 1n };
  if (call.case === 'get') return { case: 'get', value: { entry, revision: 9n } };
  if (call.case === 'put') return { case: 'put', value: { revision: 10n, previous: entry } };
  if (call.case === 'delete')
    return { case: 'delete', value: { revision: 11n, deleted: 1n, previous: [entry] } };
  return { case: 'transact', value: { succeeded: true, revision: 12n, results: [] } };
}

function answer(request: PipelineRequest, one: (call: Call) => Answer = usual) {
  const results = request.calls.map((call) => {
    const said = one(call);
    const error = said instanceof HoldfastError ? errorToMessage(said) : undefined;
    return { result: error === undefined ? (said as never) : { case: 'error' as const, value: error } };
  });
  return create(PipelineResponseSchema, { id: request.id, results });
}

type Answering = (endpoint: string, request: PipelineRequest) => Promise<PipelineResponse>;

/** A stream to a node that answers each batch; what it rejects for itself ends the stream, or refuses the batch. */
class FakeBatches implements StreamConnection {
  readonly #events: StreamEvents;
  readonly #answer: (request: PipelineRequest) => Promise<PipelineResponse>;
  #isOver = false;

  constructor(events: StreamEvents, answering: (request: PipelineRequest) => Promise<PipelineResponse>) {
    this.#events = events;
    this.#answer = answering;
  }

  send(message: Uint8Array): boolean {
    const request = fromBinary(PipelineRequestSchema, message);
    this.#answer(request).then(
      (response) => this.#say(response),
      (error: HoldfastError) => {
        if (error.reason === 'UNAVAILABLE') return this.end(error);
        this.#say(create(PipelineResponseSchema, { id: request.id, error: errorToMessage(error) }));
      },
    );
    return true;
  }

  halfClose(): void {}

  cancel(): void {
    this.#isOver = true;
  }

  end(error: HoldfastError | undefined): void {
    if (!this.#isOver) this.#events.onEnd(error);
    this.#isOver = true;
  }

  #say(response: PipelineResponse): void {
    if (!this.#isOver) this.#events.onMessage(toBinary(PipelineResponseSchema, response));
  }
}

async function setUp(endpoints = 'a:1,b:1,c:1') {
  const clock = new FakeClock();
  const transport = new FakeTransport();
  const batches: { endpoint: string; request: PipelineRequest }[] = [];
  const streams: FakeBatches[] = [];
  const usually: Answering = (_endpoint, request) => Promise.resolve(answer(request));
  const node = { answer: usually, opens: (_endpoint: string): boolean => true };
  transport.onStream = (endpoint, events, method) => {
    expect(method).toBe(ConfigService.method.pipeline);
    const stream = new FakeBatches(events, (request) => {
      batches.push({ endpoint, request });
      return node.answer(endpoint, request);
    });
    streams.push(stream);
    void Promise.resolve().then(() => (node.opens(endpoint) ? events.onOpen() : stream.end(unreached())));
    return stream;
  };
  const hf = await connect({ endpoints, clock, transport, random: fixedRandom });
  return { clock, transport, batches, streams, node, hf, config: hf.config };
}

function watch<T>(promise: Promise<T>) {
  const seen: { value?: T; error?: HoldfastError } = {};
  promise.then(
    (value) => (seen.value = value),
    (error: HoldfastError) => (seen.error = error),
  );
  return seen;
}

const unreached = () =>
  new HoldfastError({ reason: 'UNAVAILABLE', message: 'no such node', outcome: 'NOT_APPLIED' });
const gone = () => new HoldfastError({ reason: 'UNAVAILABLE', message: 'gone' });

test('calls of one turn travel in one batch, each with a sequence and a result of its own', async () => {
  const { clock, batches, config } = await setUp();
  const got = watch(config.get('k'));
  const put = watch(config.put('k', { a: 1 }, { returnPrevious: true, lease: 5n, ifModRevision: 7 }));
  const deleted = watch(config.delete({ prefix: 'k' }, { returnPrevious: true }));
  // oxlint-disable-next-line unicorn/no-thenable -- a list, not a function
  const done = watch(config.transaction({ then: [{ put: 'a', value: '' }] }));
  await clock.endTurn();
  expect(batches).toHaveLength(1);
  const calls = batches[0]!.request.calls.map(({ call }) => call);
  expect(calls.map((call) => call.case)).toEqual(['get', 'put', 'delete', 'transact']);
  expect(calls.map((call) => (call.value as { sequence?: { sequence: bigint } }).sequence?.sequence)).toEqual(
    [undefined, 1n, 2n, 3n],
  );
  expect(calls[1]).toMatchObject({ value: { lease: 5n, ifModRevision: 7n, returnPrevious: true } });
  expect(got.value).toMatchObject({ key: 'k', modRevision: 7n, lease: undefined });
  expect(got.value?.json()).toBe('v');
  expect(put.value).toMatchObject({ revision: 10n, previous: { modRevision: 7n } });
  expect(deleted.value).toMatchObject({ revision: 11n, deleted: 1, previous: [{ modRevision: 7n }] });
  expect(done.value).toEqual({ succeeded: true, revision: 12n, results: [] });
});

test('a batch has at most 512 calls and 1 MiB, and at most 8 are under way', async () => {
  const { clock, batches, node, config } = await setUp();
  const release: (() => void)[] = [];
  node.answer = (_, request) => new Promise((resolve) => release.push(() => resolve(answer(request))));
  const small = Array.from({ length: 600 }, (_, i) => watch(config.get(`k${i}`)));
  await clock.endTurn();
  expect(batches.map(({ request }) => request.calls.length)).toEqual([512, 88]);
  const large = Array.from({ length: 14 }, () => watch(config.put('k', new Uint8Array(600_000))));
  await clock.endTurn();
  expect(batches).toHaveLength(8);
  while (release.length > 0) {
    for (const next of release.splice(0)) next();
    await clock.endTurn();
  }
  expect(batches.every(({ request }) => toBinary(PipelineRequestSchema, request).length < 1_048_576)).toBe(
    true,
  );
  expect([...small, ...large].every(({ value, error }) => value !== undefined && error === undefined)).toBe(
    true,
  );
});

test('what the caller changes after the call is not sent', async () => {
  const { clock, batches, config } = await setUp();
  const value = Buffer.from('before');
  void config.put('k', value);
  value.fill('x');
  await clock.endTurn();
  const { call } = batches[0]!.request.calls[0]!;
  expect(call.case === 'put' && Buffer.from(call.value.value).toString()).toBe('before');
});

test('the leader that a node names is asked from then on; a write is sent again as it was', async () => {
  const { clock, batches, node, config } = await setUp();
  node.answer = (endpoint, request) => {
    const refusal = new HoldfastError({
      reason: 'NOT_LEADER',
      message: 'no',
      outcome: 'NOT_APPLIED',
      leader: 'c:1',
    });
    return Promise.resolve(answer(request, endpoint === 'c:1' ? usual : () => refusal));
  };
  const put = watch(config.put('k', 'v'));
  await clock.pass(50);
  expect(put.value?.revision).toBe(10n);
  const read = watch(config.get('k'));
  const second = watch(config.put('k', 'v'));
  await clock.pass(50);
  expect([read.error, second.error]).toEqual([undefined, undefined]);
  expect(batches.map(({ endpoint }) => endpoint)).toEqual(['a:1', 'c:1', 'c:1']);
  const sequences = batches.flatMap(({ request }) =>
    request.calls.flatMap(({ call }) => (call.case === 'put' ? [call.value.sequence] : [])),
  );
  expect(sequences).toMatchObject([
    { sequence: 1n, open: true },
    { sequence: 1n, open: true },
    { sequence: 2n, open: false, ackedBelow: 2n },
  ]);
});

test('each call of a batch ends by itself: one is refused, one repeated, one done', async () => {
  const { clock, batches, node, config } = await setUp();
  let round = 0;
  node.answer = (_, request) => {
    round += 1;
    return Promise.resolve(
      answer(request, (call) => {
        if (call.call.case !== 'put') return usual(call);
        if (round > 1) return usual(call);
        const isFirst = call.call.value.sequence?.sequence === 1n;
        return new HoldfastError({
          reason: isFirst ? 'REVISION_MISMATCH' : 'OVERLOADED',
          message: 'no',
          outcome: 'NOT_APPLIED',
          currentVersion: isFirst ? 3n : undefined,
          retryAfterMs: isFirst ? undefined : 40,
        });
      }),
    );
  };
  const refused = watch(config.put('a', '1', { ifAbsent: true }));
  const repeated = watch(config.put('b', '1'));
  const read = watch(config.get('c'));
  await clock.pass(100);
  expect(refused.error).toMatchObject({
    reason: 'REVISION_MISMATCH',
    outcome: 'NOT_APPLIED',
    current: { version: 3n },
  });
  expect(repeated.value?.revision).toBe(10n);
  expect(read.value?.key).toBe('k');
  expect(batches.map(({ request }) => request.calls.length)).toEqual([3, 1]);
});

test('a node that hangs is given up, and its calls go to another one', async () => {
  const { clock, batches, node, config } = await setUp();
  node.answer = (endpoint, request) =>
    endpoint === 'a:1' ? new Promise(() => undefined) : Promise.resolve(answer(request));
  const put = watch(config.put('k', 'v'));
  await clock.pass(1_700);
  expect(put.value?.revision).toBe(10n);
  expect(batches.map(({ endpoint }) => endpoint)).toEqual(['a:1', 'b:1']);
});

test('a call ends by its deadline and by its signal, and says what became of it', async () => {
  const { clock, node, config } = await setUp('a:1');
  node.answer = () => new Promise(() => undefined);
  const controller = new AbortController();
  const late = watch(config.put('k', 'v', { timeout: 300 }));
  const aborted = watch(config.put('k', 'v', { signal: controller.signal }));
  const read = watch(config.get('k', { timeout: 300 }));
  await clock.endTurn();
  const unsent = watch(config.put('k', 'v', { signal: controller.signal }));
  controller.abort();
  await clock.pass(350);
  expect(late.error).toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: 'UNKNOWN' });
  expect(aborted.error).toMatchObject({ reason: 'CANCELLED', outcome: 'UNKNOWN' });
  expect(unsent.error).toMatchObject({ reason: 'CANCELLED', outcome: 'NOT_APPLIED' });
  expect(read.error).toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: undefined });
});

test('what is too large to be answered together is asked for alone', async () => {
  const { clock, batches, node, config } = await setUp();
  node.answer = (_, request) =>
    request.calls.length > 1
      ? Promise.reject(
          new HoldfastError({ reason: 'ANSWER_TOO_LARGE', message: 'no', outcome: 'NOT_APPLIED' }),
        )
      : Promise.resolve(answer(request));
  const reads = [watch(config.get('a')), watch(config.get('b'))];
  await clock.pass(100);
  expect(reads.map(({ value }) => value?.key)).toEqual(['k', 'k']);
  expect(batches.map(({ request }) => request.calls.length)).toEqual([2, 1, 1]);
});

test('batches of a node share a stream, which is opened again when it has ended', async () => {
  const { clock, batches, streams, config } = await setUp('a:1');
  await Promise.all([config.put('k', '1'), clock.pass(5)]);
  await Promise.all([config.put('k', '2'), clock.pass(5)]);
  expect([streams.length, batches.length]).toEqual([1, 2]);
  streams[0]!.end(undefined);
  const put = watch(config.put('k', '3'));
  await clock.pass(5);
  expect([streams.length, put.value?.revision]).toEqual([2, 10n]);
});

test('a write whose stream was never open has certainly not been applied; the next node is asked', async () => {
  const { clock, node, config } = await setUp();
  node.opens = (endpoint) => endpoint === 'b:1';
  const put = watch(config.put('k', 'v'));
  await clock.pass(500);
  expect(put.value?.revision).toBe(10n);
  node.opens = () => false;
  const alone = await setUp('a:1');
  alone.node.opens = () => false;
  const never = watch(alone.config.put('k', 'v', { timeout: 400 }));
  await alone.clock.pass(500);
  expect(never.error).toMatchObject({ reason: 'UNAVAILABLE', outcome: 'NOT_APPLIED' });
});

test('a write on a stream that ends without an answer may have been applied', async () => {
  const { clock, streams, node, config } = await setUp('a:1');
  node.answer = () => new Promise(() => undefined);
  const put = watch(config.put('k', 'v', { timeout: 400 }));
  await clock.endTurn();
  node.opens = () => false;
  streams[0]!.end(undefined);
  await clock.pass(500);
  expect(put.error).toMatchObject({ outcome: 'UNKNOWN' });
});

test('stale reads travel apart', async () => {
  const { clock, batches, config } = await setUp();
  watch(config.get('a'));
  watch(config.get('b', { stale: true, revision: 4 }));
  await clock.endTurn();
  expect(batches.map(({ request }) => request.calls.length)).toEqual([1, 1]);
  expect(batches[1]!.request.calls[0]!.call.value).toMatchObject({ options: { stale: true, revision: 4n } });
});

test('whatever fails: every call ends once, and a write is applied once with the answer that it gets', async () => {
  const kind = fc.constantFrom('get', 'put', 'delete');
  const fate = fc.constantFrom('fine', 'fine', 'lost', 'unsent', 'hang', 'overloaded', 'notLeader');
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(kind, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 6 }),
      fc.array(fate, { maxLength: 12 }),
      async (turns, fates) => {
        const { clock, node, hf, config } = await setUp();
        const applied = new Map<bigint, bigint>();
        let revision = 0n;
        const apply = (call: Call): Answer => {
          if (call.call.case === 'get' || call.call.case === undefined) return usual(call);
          const { sequence } = call.call.value.sequence!;
          if (!applied.has(sequence)) applied.set(sequence, (revision += 1n));
          const value = { revision: applied.get(sequence)!, deleted: 0n };
          return { case: call.call.case, value } as Answer;
        };
        node.answer = (_, request) => {
          const what = fates.shift() ?? 'fine';
          if (what === 'unsent')
            return Promise.reject(
              new HoldfastError({ reason: 'UNAVAILABLE', message: 'gone', outcome: 'NOT_APPLIED' }),
            );
          if (what === 'overloaded' || what === 'notLeader') {
            const reason = what === 'overloaded' ? 'OVERLOADED' : 'NOT_LEADER';
            const no = new HoldfastError({ reason, message: 'no', outcome: 'NOT_APPLIED' });
            return Promise.resolve(answer(request, () => no));
          }
          const response = answer(request, apply);
          if (what === 'hang') return new Promise(() => undefined);
          return what === 'lost' ? Promise.reject(gone()) : Promise.resolve(response);
        };
        const calls: { kind: string; seen: { value?: unknown; error?: HoldfastError } }[] = [];
        for (const kinds of turns) {
          for (const one of kinds) {
            const made =
              one === 'get' ? config.get('k') : one === 'put' ? config.put('k', '') : config.delete('k');
            calls.push({ kind: one, seen: watch<unknown>(made) });
          }
          await clock.pass(5);
        }
        await clock.pass(6_000);
        const revisions = calls.flatMap(({ kind: one, seen }) => {
          expect((seen.value === undefined) !== (seen.error === undefined)).toBe(true);
          return one === 'get' || seen.value === undefined
            ? []
            : [(seen.value as { revision: bigint }).revision];
        });
        expect(new Set(revisions).size).toBe(revisions.length);
        const failures = calls.filter(
          ({ kind: one, seen }) => one !== 'get' && seen.error?.outcome === 'UNKNOWN',
        );
        expect(applied.size).toBeLessThanOrEqual(revisions.length + failures.length);
        for (const { kind: one, seen } of calls)
          if (seen.error !== undefined && one !== 'get') expect(seen.error.outcome).toBeDefined();
        const closing = hf.close();
        await clock.pass(10);
        await closing;
      },
    ),
    { numRuns: 100 },
  );
}, 60_000);

test('a list is gathered in parts at one revision; its limit is for all of them', async () => {
  const { clock, transport, config } = await setUp();
  const keys = ['a1', 'a2', 'a3', 'a4', 'a5', 'b1'];
  const asked: ListRequest[] = [];
  transport.onUnary = (_method, request) => {
    const list = request as ListRequest;
    asked.push(structuredClone(list));
    const { selection } = list.selection!;
    const isPrefix = selection.case === 'prefix';
    const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();
    const inside = keys.filter((key) => {
      if (isPrefix) return key.startsWith(text(selection.value));
      if (selection.case !== 'range') return false;
      const { start, end } = selection.value;
      return key >= text(start) && (end === undefined || key < text(end));
    });
    if (list.descending) inside.reverse();
    const part = inside.slice(0, Math.min(2, list.limit === 0 ? 2 : list.limit));
    const entries = part.map((key) => ({ key: Buffer.from(key), modRevision: 3n, version: 1n }));
    return Promise.resolve(
      create(ListResponseSchema, { entries, more: part.length < inside.length, revision: 9n }),
    );
  };
  const all = watch(config.list({ prefix: 'a' }));
  const reversed = watch(config.list({ prefix: 'a' }, { descending: true }));
  const some = watch(config.list({ start: 'a2' }, { limit: 3, descending: true }));
  await clock.endTurn();
  expect(all.value?.entries.map(({ key }) => key)).toEqual(['a1', 'a2', 'a3', 'a4', 'a5']);
  expect(all.value).toMatchObject({ more: false, revision: 9n });
  expect(reversed.value?.entries.map(({ key }) => key)).toEqual(['a5', 'a4', 'a3', 'a2', 'a1']);
  expect(some.value?.entries.map(({ key }) => key)).toEqual(['b1', 'a5', 'a4']);
  expect(some.value?.more).toBe(true);
  expect(
    asked
      .slice(1)
      .filter((list) => list.selection?.selection.case === 'range' && list.options?.revision === 9n),
  ).not.toEqual([]);
});

test('a transaction says its conditions and operations, and reads its results by them', async () => {
  const { clock, batches, node, config } = await setUp();
  const entry = { key: Buffer.from('a'), value: Buffer.from('1'), modRevision: 2n, version: 1n };
  node.answer = (_, request) =>
    Promise.resolve(
      answer(request, () => ({
        case: 'transact',
        value: {
          succeeded: false,
          revision: 5n,
          results: [
            { result: { case: 'list', value: { entries: [entry], revision: 5n } } },
            { result: { case: 'delete', value: { revision: 5n, deleted: 2n } } },
            { result: { case: 'transaction', value: { succeeded: true, revision: 5n, results: [] } } },
          ],
        },
      })),
    );
  const done = watch(
    config.transaction({
      if: [
        { key: 'a', exists: false },
        { prefix: 'p', modRevision: 4, is: '<' },
        { key: 'v', value: 'x', is: '!=' },
      ],
      // oxlint-disable-next-line unicorn/no-thenable -- a list, not a function
      then: [],
      // oxlint-disable-next-line unicorn/no-thenable -- a list, not a function
      else: [{ get: 'a' }, { delete: { prefix: 'p' } }, { transaction: { then: [{ put: 'b', value: '' }] } }],
    }),
  );
  await clock.endTurn();
  const { call } = batches[0]!.request.calls[0]!;
  if (call.case !== 'transact') throw new Error(call.case);
  expect(call.value.transaction!.comparisons).toMatchObject([
    { comparator: 1, target: { case: 'version', value: 0n } },
    { comparator: 3, target: { case: 'modRevision', value: 4n } },
    { comparator: 2, target: { case: 'value' } },
  ]);
  expect(done.value).toMatchObject({
    succeeded: false,
    results: [
      { entry: { key: 'a', modRevision: 2n } },
      { deleted: { deleted: 2 } },
      { transaction: { succeeded: true } },
    ],
  });
});

test('what is not allowed is refused before anything is sent', async () => {
  const { clock, transport, config } = await setUp();
  const refused = [
    config.put('k', 'v', { ifAbsent: true, ifModRevision: 3 }),
    config.put('k', 'v', { ifModRevision: -1 }),
    config.get('k', { revision: 1.5 }),
    config.list({ prefix: '' }, { limit: 0 }),
    config.list({ prefix: '' }, { sortBy: 'size' as 'key' }),
    config.transaction({ if: [{ key: 'a', version: 1, is: '~' as '=' }] }),
  ].map((call) => watch<unknown>(call));
  await clock.endTurn();
  for (const { error } of refused) expect(error).toMatchObject({ reason: 'INVALID_FIELD' });
  expect(transport.unaries).toEqual([]);
});
