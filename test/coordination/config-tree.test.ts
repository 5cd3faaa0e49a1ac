import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ConfigComparator,
  encodeCompact,
  encodePurge,
  encodeTransact,
  keySpan,
  type ConfigComparison,
  type ConfigOperation,
  type ConfigTransaction,
  type KeySpan,
} from '../../node/coordination/config-command.ts';
import { answerSize } from '../../node/coordination/answer-size.ts';
import { CHANGE_BYTES } from '../../node/coordination/config-limits.ts';
import { decodeTransactOutcome, type TransactionResult } from '../../node/coordination/config-outcome.ts';
import type { ConfigEntry, ConfigEvent } from '../../node/coordination/coordination-events.ts';
import { EventFeed } from '../../node/coordination/coordination-events.ts';
import { CoordinationMachine } from '../../node/coordination/coordination-machine.ts';
import { encodeCommand } from '../../node/coordination/coordination-command.ts';
import {
  SessionCommandKind,
  writeSessionCommand,
  type SessionCommand,
} from '../../node/coordination/session-command.ts';
import { decodeOutcome, isRefusal, type Outcome } from '../../node/coordination/refusal.ts';
import type { RowStore } from '../../node/storage/row-store.ts';
import { ConfigOracle, SORTS, type OracleEntry } from './config-oracle.ts';
import { MemoryRows } from './part-rows.ts';

class Rig {
  readonly rows = new MemoryRows();
  readonly feed = new EventFeed();
  readonly machine = new CoordinationMachine(this.rows as unknown as RowStore, 0, this.feed);
  readonly told: [number, readonly ConfigEvent[]][] = [];

  constructor() {
    this.feed.add({ onChanges: (revision, events) => void this.told.push([revision, events]) });
  }

  transact(transaction: ConfigTransaction, quotaBytes = 2 ** 40): unknown {
    const outcome = this.apply(encodeTransact(undefined, { quotaBytes, transaction }));
    if (isRefusal(outcome)) return outcome.refused;
    return plain(decodeTransactOutcome(outcome));
  }

  put(key: string, value: string, quotaBytes?: number): unknown {
    return this.transact(justDo([putOf(key, value)]), quotaBytes);
  }

  apply(command: Parameters<CoordinationMachine['apply']>[0]): Outcome {
    const outcome = this.machine.apply(command, 1) as Outcome;
    return decodeOutcome(this.machine.encodeResult(outcome));
  }

  /** Whether it was taken. */
  session(command: SessionCommand): boolean {
    return !isRefusal(
      this.apply(encodeCommand(command.kind, undefined, (writer) => writeSessionCommand(writer, command))),
    );
  }

  async purge(): Promise<number> {
    let slices = 0;
    for (;;) {
      const purge = await this.machine.config.history.toPurge();
      if (purge === undefined) return slices;
      this.apply(encodePurge(purge));
      slices++;
    }
  }
}

function putOf(key: string, value: string, more: object = {}): ConfigOperation {
  return {
    case: 'put',
    key,
    value: Buffer.from(value, 'latin1'),
    lease: 0n,
    ifModRevision: undefined,
    returnPrevious: false,
    keepValue: false,
    keepLease: false,
    ...more,
  };
}

function deleteOf(span: KeySpan): ConfigOperation {
  return { case: 'delete', span, ifModRevision: undefined, returnPrevious: false };
}

function justDo(thenOperations: readonly ConfigOperation[]): ConfigTransaction {
  return { comparisons: [], thenOperations, elseOperations: [] };
}

/** Bytes as text, to be compared. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}

const key = fc.constantFrom('a', 'a\0', 'a\0\xff', 'a\x01', 'ab', 'b', 'b/1', 'b/2', 'c', '\xff', '\xff\xff');
const value = fc.constantFrom('', '1', '2', 'long'.repeat(50));
const span: fc.Arbitrary<KeySpan> = fc.oneof(
  key.map(keySpan),
  fc.constant({ start: 'b', end: 'c' }),
  fc.constant({ start: '', end: undefined }),
  fc
    .tuple(key, key)
    .filter(([a, b]) => a < b)
    .map(([start, end]) => ({ start, end })),
  key.map((start) => ({ start, end: undefined })),
);
const revisionGuess = fc.integer({ min: 0, max: 12 });
const LEASES = [5n, 2n ** 62n];
const lease = fc.constantFrom(0n, 0n, ...LEASES);
const comparison: fc.Arbitrary<ConfigComparison> = fc
  .record({
    span,
    comparator: fc.constantFrom(...Object.values(ConfigComparator)),
    target: fc.oneof(
      fc.record({
        case: fc.constantFrom('version' as const, 'createRevision' as const, 'modRevision' as const),
        value: revisionGuess,
      }),
      fc.record({ case: fc.constant('value' as const), value: value.map((text) => Buffer.from(text)) }),
      fc.record({ case: fc.constant('lease' as const), value: lease }),
    ),
  })
  .map((given) => ({ ...given, isKey: given.span.end === `${given.span.start}\0` }));
const maybeRevision = fc.option(revisionGuess, { nil: undefined, freq: 6 });
const { transaction } = fc.letrec<{ transaction: ConfigTransaction; operation: ConfigOperation }>((tie) => ({
  operation: fc.oneof(
    { depthSize: 'small', maxDepth: 3 },
    fc.record({
      case: fc.constant('put' as const),
      key,
      value: value.map((text) => Buffer.from(text)),
      lease,
      ifModRevision: maybeRevision,
      returnPrevious: fc.boolean(),
      keepValue: fc.integer({ min: 0, max: 5 }).map((n) => n === 0),
      keepLease: fc.integer({ min: 0, max: 5 }).map((n) => n === 0),
    }),
    fc
      .record({
        case: fc.constant('delete' as const),
        span,
        ifModRevision: maybeRevision,
        returnPrevious: fc.boolean(),
      })
      .map((one) => (one.span.end === `${one.span.start}\0` ? one : { ...one, ifModRevision: undefined })),
    fc.record({
      case: fc.constant('list' as const),
      span,
      limit: fc.integer({ min: 0, max: 4 }),
      keysOnly: fc.boolean(),
      countOnly: fc.boolean(),
      sortBy: fc.constantFrom(...SORTS),
      isDescending: fc.boolean(),
    }),
    fc.record({ case: fc.constant('transaction' as const), transaction: tie('transaction') }),
  ) as fc.Arbitrary<ConfigOperation>,
  transaction: fc.record({
    comparisons: fc.array(comparison, { maxLength: 2 }),
    thenOperations: fc.array(tie('operation'), { maxLength: 4 }),
    elseOperations: fc.array(tie('operation'), { maxLength: 3 }),
  }),
}));

type Step =
  | { readonly do: 'transact'; readonly transaction: ConfigTransaction }
  | { readonly do: 'compact'; readonly back: number; readonly purge: boolean }
  | { readonly do: 'grant' | 'end'; readonly lease: bigint }
  | { readonly do: 'reread' };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant('transact' as const), transaction }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('compact' as const),
      back: fc.integer({ min: 0, max: 6 }),
      purge: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('grant' as const, 'grant' as const, 'end' as const),
      lease: fc.constantFrom(...LEASES),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'reread' as const }) },
);

/** Bytes of the entries that a result has, as they are counted before. */
function entryBytes(result: TransactionResult): number {
  let bytes = 0;
  for (const one of result.results) {
    if (one.case === 'transaction') bytes += entryBytes(one);
    else if (one.case === 'list')
      for (const { key, value } of one.entries) bytes += 64 + key.byteLength + value.byteLength;
    else if (one.case === 'delete')
      for (const { key, value } of one.previous) bytes += 64 + key.byteLength + value.byteLength;
    else if (one.previous !== undefined)
      bytes += 64 + one.previous.key.byteLength + one.previous.value.byteLength;
  }
  return bytes;
}

async function play(steps: readonly Step[]): Promise<void> {
  const rig = new Rig();
  const oracle = new ConfigOracle();
  let compacted = 0;
  for (const one of steps) {
    if (one.do === 'transact') {
      expect(rig.transact(one.transaction)).toEqual(oracle.transact(one.transaction));
    } else if (one.do === 'compact') {
      const at = Math.max(0, oracle.revision - one.back);
      const outcome = rig.apply(encodeCompact(at));
      expect(isRefusal(outcome) && outcome.refused).toBe(at <= compacted ? 'REVISION_COMPACTED' : false);
      compacted = Math.max(compacted, at);
      if (one.purge) await rig.purge();
    } else if (one.do === 'grant') {
      rig.session({ kind: SessionCommandKind.grant, lease: one.lease, ttlMs: 1_000, name: '' });
      oracle.leases.add(one.lease);
    } else if (one.do === 'end') {
      const isThere = oracle.leases.has(one.lease);
      oracle.endLease(one.lease);
      expect(rig.session({ kind: SessionCommandKind.revoke, lease: one.lease })).toBe(isThere);
    } else rig.rows.reread();
    compareState(rig, oracle, compacted);
  }
  await rig.purge();
  compareState(rig, oracle, compacted);
  compareEvents(rig, oracle);
  await compareHistory(rig, oracle, compacted);
  compareRows(rig);
}

function compareState({ machine }: Rig, oracle: ConfigOracle, compacted: number): void {
  const { history } = machine.config;
  expect(machine.revision).toBe(oracle.revision);
  const everything = { start: '', end: undefined };
  const now = oracle.select(everything);
  expect(history.counters.keys).toBe(now.length);
  for (let revision = compacted; revision <= oracle.revision; revision++) {
    const expected = oracle.select(everything, revision);
    expect(walked(machine, everything, revision)).toEqual(expected);
    expect(walked(machine, everything, revision, true)).toEqual(expected.toReversed());
    const span = { start: 'a\x01', end: 'b/2' };
    expect(walked(machine, span, revision, true)).toEqual(oracle.select(span, revision).toReversed());
    expect(plain(machine.config.get(Buffer.from('b'), revision))).toEqual(
      expected.find((entry) => entry.key === 'b'),
    );
  }
  for (const lease of LEASES) {
    const keys = now.filter((entry) => entry.lease === lease).map((entry) => entry.key);
    expect(machine.config.leases.keysOf(lease)).toEqual(keys);
    const row = machine.sessions.state.leases.get(lease);
    expect(row?.keys).toBe(oracle.leases.has(lease) ? keys.length : undefined);
  }
}

function walked(machine: CoordinationMachine, span: KeySpan, revision: number, isDescending = false) {
  const { history } = machine.config;
  const walk = history.walk(span, revision, isDescending);
  const entries: ConfigEntry[] = [];
  for (let found = walk.next(); found !== undefined; found = walk.next()) entries.push(history.entry(found));
  return plain(entries) as OracleEntry[];
}

function shown(event: ConfigEvent, machine: CoordinationMachine): unknown {
  const { isDelete, entry, previous } = event;
  return {
    isDelete,
    key: Buffer.from(entry.key).toString('latin1'),
    entry: isDelete ? undefined : plain(entry),
    previous: previous && plain(machine.config.entryAt(previous)),
  };
}

function compareEvents({ told }: Rig, oracle: ConfigOracle): void {
  expect(told.map(([revision]) => revision)).toEqual(Object.keys(oracle.events).map(Number));
  for (const [revision, events] of told) {
    const expected = oracle.events[revision]!;
    expect(events.map(({ number }) => number)).toEqual(expected.map((_, at) => at));
    const seen = events.map((event) => ({
      isDelete: event.isDelete,
      key: Buffer.from(event.entry.key).toString('latin1'),
      entry: event.isDelete ? undefined : plain(event.entry),
    }));
    expect(seen).toEqual(expected.map(({ isDelete, key: at, entry }) => ({ isDelete, key: at, entry })));
    expect(events.map(({ previous }) => previous?.revision)).toEqual(
      expected.map(({ previous }) => previous?.modRevision),
    );
  }
}

/** From the compact revision on all changes are there, with what they replaced. */
async function compareHistory({ machine }: Rig, oracle: ConfigOracle, compacted: number): Promise<void> {
  const events: ConfigEvent[] = [];
  let from = { revision: compacted, number: 0 } as { revision: number; number: number } | undefined;
  while (from !== undefined) {
    const part = await machine.config.history.events(from, 3);
    events.push(...part.events);
    from = part.next;
  }
  const expected = oracle.events.slice(compacted).flat();
  const seen = events.map((event) => shown(event, machine));
  expect(seen).toEqual(expected);
}

/** Invariant 1 of the history. */
function compareRows({ rows, machine }: Rig): void {
  const changes = [...rows.written()].filter(([row]) => row[12] === 'e');
  let bytes = 0;
  for (const [row] of changes) {
    const event = machine.config.history.event({
      revision: Buffer.from(row.slice(17, 21), 'latin1').readUInt32BE(),
      number: Buffer.from(row.slice(21), 'latin1').readUInt32BE(),
    })!;
    bytes += CHANGE_BYTES + event.entry.key.byteLength + event.entry.value.byteLength;
  }
  expect(machine.config.history.counters.bytes).toBe(bytes);
}

describe('the configuration', () => {
  it('does what a copy of all keys for each revision does', async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), play), { numRuns: 400 });
  });

  it('keeps one change a key when everything else is forgotten', async () => {
    const rig = new Rig();
    for (let round = 0; round < 20; round++) for (let n = 0; n < 100; n++) rig.put(`k${n}`, `round ${round}`);
    for (let n = 0; n < 50; n++) rig.transact(justDo([deleteOf(keySpan(`k${n}`))]));
    const before = rig.machine.config.history.counters;
    expect(before.keys).toBe(50);
    rig.put('last', '');
    rig.apply(encodeCompact(rig.machine.revision));
    expect(await rig.purge()).toBeGreaterThan(3);
    const { keys, bytes } = rig.machine.config.history.counters;
    expect(keys).toBe(51);
    expect(bytes).toBe(50 * (CHANGE_BYTES + 3 + 8) + CHANGE_BYTES + 4);
    expect([...rig.rows.written().keys()].filter((row) => row[12] === 'e')).toHaveLength(51);
  });

  it('passes over what a purge has no business with', async () => {
    const rig = new Rig();
    for (const text of ['1', '2', '3', '4']) rig.put('a', text);
    rig.apply(encodeCompact(3));
    const { history } = rig.machine.config;
    const purge = (await history.toPurge())!;
    expect(purge).toMatchObject({ to: { revision: 2, number: 0 }, replaced: [{ revision: 1, number: 0 }] });
    rig.apply(encodePurge({ ...purge, after: { revision: 1, number: 0 } }));
    rig.apply(encodePurge({ ...purge, to: { revision: 3, number: 0 } }));
    expect(history.event({ revision: 1, number: 0 })).toBeDefined();
    rig.apply(encodePurge(purge));
    const { bytes } = history.counters;
    rig.apply(encodePurge(purge));
    expect(history.counters.bytes).toBe(bytes);
    expect(walked(rig.machine, keySpan('a'), 3)).toMatchObject([{ value: '3' }]);
    expect(walked(rig.machine, keySpan('a'), 2)).toMatchObject([{ value: '2' }]);
    expect(rig.machine.config.entryAt({ revision: 1, number: 0 })).toBeUndefined();
    expect(await history.toPurge()).toBe(undefined);
  });

  it('finds what a key was at any revision, in few steps', () => {
    const rig = new Rig();
    const values = new Map<number, string | undefined>();
    for (let turn = 1; turn <= 600; turn++) {
      if (turn % 37 === 0) rig.transact(justDo([deleteOf(keySpan('hot'))]));
      else rig.put('hot', String(turn));
      values.set(turn, turn % 37 === 0 ? undefined : String(turn));
    }
    let most = 0;
    for (const [revision, value] of values) {
      rig.rows.reads = 0;
      expect(plain(rig.machine.config.get(Buffer.from('hot'), revision)?.value)).toBe(value);
      most = Math.max(most, rig.rows.reads);
    }
    expect(most).toBeLessThan(64); // of 600 changes
  });

  it('refuses what grows beyond the quota, and nothing else', () => {
    const rig = new Rig();
    const one = CHANGE_BYTES + 1 + 100;
    expect(rig.put('a', 'x'.repeat(100), 2 * one)).toMatchObject({ revision: 1 });
    expect(rig.put('b', 'x'.repeat(100), 2 * one)).toMatchObject({ revision: 2 });
    expect(rig.put('c', '', 2 * one)).toBe('QUOTA_REACHED');
    const both = justDo([deleteOf(keySpan('a')), putOf('d', '')]);
    expect(rig.transact(both, 2 * one)).toBe('QUOTA_REACHED');
    expect(walked(rig.machine, keySpan('a'), 2)).toHaveLength(1);
    expect(rig.transact(justDo([deleteOf(keySpan('a'))]), 2 * one)).toMatchObject({ revision: 3 });
    expect(rig.machine.config.history.counters.bytes).toBe(2 * one + CHANGE_BYTES + 1);
  });

  it('refuses a transaction that would look at too many keys, or answer too much', () => {
    const rig = new Rig();
    for (let n = 0; n < 10_001; n += 500) {
      const keys = Array.from({ length: Math.min(500, 10_001 - n) }, (_, at) => putOf(`k${n + at}`, ''));
      rig.transact(justDo(keys));
    }
    const everything = { start: '', end: undefined };
    expect(rig.transact(justDo([deleteOf(everything)]))).toBe('RANGE_TOO_LARGE');
    expect(rig.machine.config.history.counters.keys).toBe(10_001);
    expect(rig.transact(justDo([deleteOf({ start: 'k1', end: 'k3' })]))).toMatchObject({ succeeded: true });
    const large = putOf('large', 'x'.repeat(1_000_000));
    const list = { ...LIST, span: keySpan('large') };
    expect(rig.transact(justDo([large, ...Array.from({ length: 9 }, () => list)]))).toBe('ANSWER_TOO_LARGE');
    expect(rig.machine.config.get(Buffer.from('large'))).toBeUndefined();
  });

  it('takes no command that cannot be applied', () => {
    const { machine } = new Rig();
    const taken = (transaction_: ConfigTransaction) =>
      machine.parse(encodeTransact(undefined, { quotaBytes: 1, transaction: transaction_ }));
    const nested = (depth: number): ConfigTransaction =>
      justDo(depth === 1 ? [] : [{ case: 'transaction', transaction: nested(depth - 1) }]);
    expect(() => taken(nested(8))).not.toThrow();
    expect(() => taken(nested(9))).toThrow(RangeError);
    const many = (count: number) => justDo(Array.from({ length: count }, () => putOf('a', '')));
    expect(() => taken(many(1_024))).not.toThrow();
    expect(() => taken(many(1_025))).toThrow(RangeError);
    expect(() => taken(justDo([putOf('', '')]))).toThrow(RangeError);
    expect(() => taken(justDo([putOf('k'.repeat(4_097), '')]))).toThrow(RangeError);
    expect(() => taken(justDo([putOf('k', 'v'.repeat(1_048_577))]))).toThrow(RangeError);
    expect(() => taken(justDo([{ ...LIST, sortBy: 6 as never }]))).toThrow(RangeError);
    const { kind, version, bytes } = encodeTransact(undefined, { quotaBytes: 1, transaction: justDo([]) });
    expect(() => machine.parse({ kind, version, bytes: Buffer.concat([bytes, Buffer.from('x')]) })).toThrow();
    for (let length = 0; length < bytes.byteLength; length++)
      expect(() => machine.parse({ kind, version, bytes: bytes.subarray(0, length) })).toThrow(RangeError);
    expect(() => machine.parse({ kind: 99, version, bytes })).toThrow(RangeError);
    expect(() => machine.parse({ kind, version: 2, bytes })).toThrow(RangeError);
  });
});

const LIST = {
  case: 'list',
  span: keySpan('a'),
  limit: 0,
  keysOnly: false,
  countOnly: false,
  sortBy: 1,
  isDescending: false,
} as const;

it('of what a transaction will answer with the size is told before, never too small', () => {
  const puts = fc.array(fc.tuple(key, value), { maxLength: 12 });
  const reading = transaction.filter(({ thenOperations: [one, ...others] }) =>
    one?.case === 'put' || one?.case === 'delete'
      ? others.length === 0
      : [one, ...others].every((each) => each?.case === 'list'),
  );
  let exact = 0;
  let all = 0;
  fc.assert(
    fc.property(puts, reading, (written, { thenOperations }) => {
      const rig = new Rig();
      for (const [at, content] of written) rig.put(at, content);
      const asked = justDo(thenOperations);
      const told = answerSize(rig.machine.config.history, asked);
      const outcome = rig.apply(encodeTransact(undefined, { quotaBytes: 2 ** 40, transaction: asked }));
      if (isRefusal(outcome)) return;
      const answered = entryBytes(decodeTransactOutcome(outcome));
      expect(told).toBeGreaterThanOrEqual(answered);
      all++;
      if (told === answered) exact++;
    }),
    { numRuns: 500 },
  );
  expect(exact).toBeGreaterThan(all / 2);
});
