import { describe, expect, test } from 'vitest';
import { SessionCommandKind, type SessionCommand } from '../../../node/coordination/session-command.ts';
import type { SessionOutcome } from '../../../node/coordination/session-outcome.ts';
import { HoldMode } from '../../../node/coordination/wait-queue.ts';
import { composeId } from '../../../client/ids/id-layout.ts';
import type { ConfigTransact } from '../../../node/coordination/config-command.ts';
import { encodeTransactOutcome } from '../../../node/coordination/config-outcome.ts';
import type { ConfigEvent } from '../../../node/coordination/coordination-events.ts';
import { ConfigChecker, type ReadEntry } from './config-checker.ts';
import { ElectionChecker } from './election-checker.ts';
import { LeaseChecker, type HeldLease } from './lease-checker.ts';
import { LockChecker, type Believer } from './lock-checker.ts';
import { NumberChecker } from './number-checker.ts';
import { WatchChecker, type ToldEvent } from './watch-checker.ts';
import { SessionModel, type SeenPlace } from './session-model.ts';

/** A model, what it told, and a node that it is compared with. */
function modelled() {
  const told: string[] = [];
  const model = new SessionModel({
    onGranted: (kind, name, session, token) => told.push(`${kind} ${name} ${session} ${token}`),
    onQueue: () => undefined,
    onSaid: (name, session, token, revision) => told.push(`${name} ${session} ${token} says ${revision}`),
    onLease: (lease) => told.push(`lease ${lease}`),
    onLeaseEnded: (lease, hasExpired) => told.push(`${hasExpired ? 'expired' : 'ended'} ${lease}`),
  });
  const grant = (lease: bigint) =>
    model.apply(
      { kind: SessionCommandKind.grant, lease: 0n, ttlMs: 1_000, name: '' },
      { case: 'lease', lease, ttlMs: 1_000, revision: 0 },
    );
  const seen = (
    revision: number,
    holders: readonly [bigint, number][],
    waiters: readonly bigint[] = [],
    leases: readonly bigint[] = [1n, 2n, 3n],
  ) => {
    const place = (session: bigint, token: number): SeenPlace => {
      return { session, token, requests: new Map([['r', []]]) };
    };
    model.compare({
      revision,
      queue: () => ({
        holders: holders.map(([session, token]) => place(session, token)),
        waiters: waiters.map((session) => place(session, 0)),
      }),
      hasLease: (lease) => leases.includes(lease),
    });
  };
  for (const lease of [1n, 2n, 3n]) grant(lease);
  return { told, model, seen };
}

function acquire(session: bigint, mode: HoldMode = HoldMode.exclusive): SessionCommand {
  return {
    kind: SessionCommandKind.acquire,
    name: 'a',
    session,
    request: 'r',
    attempt: 1,
    mode,
    permits: 0,
    mayWait: true,
  };
}

function release(session: bigint, token: number): SessionCommand {
  return { kind: SessionCommandKind.release, name: 'a', session, request: 'r', token, attempt: undefined };
}

const held = (token: number): SessionOutcome => ({ case: 'held', token, holds: 1 });
const WAITING: SessionOutcome = { case: 'waiting', revision: 1 };
const RELEASED: SessionOutcome = { case: 'released', holds: 0, wasFound: true };

describe('the model of the log', () => {
  test('is content with what is right', () => {
    const { told, model, seen } = modelled();
    model.apply(acquire(1n), held(1));
    model.apply(acquire(2n), WAITING);
    seen(1, [[1n, 1]], [2n]);
    model.apply(release(1n, 1), RELEASED);
    seen(2, [[2n, 2]]);
    model.apply({ kind: SessionCommandKind.revoke, lease: 2n }, { case: 'done', revision: 3 });
    seen(3, [], [], [1n, 3n]);
    expect(told).toEqual(['lease 1', 'lease 2', 'lease 3', 'locks a 1 1', 'locks a 2 2', 'ended 2']);
  });

  test('two exclusive holders', () => {
    const { model } = modelled();
    model.apply(acquire(1n), held(1));
    expect(() => model.apply(acquire(2n), held(2))).toThrow('was told held 2 1, and it is waiting');
  });

  test('somebody passes who came before', () => {
    const { model, seen } = modelled();
    for (const [session, outcome] of [
      [1n, held(1)],
      [2n, WAITING],
      [3n, WAITING],
    ] as const)
      model.apply(acquire(session), outcome);
    seen(1, [[1n, 1]], [2n, 3n]);
    model.apply(release(1n, 1), RELEASED);
    expect(() => seen(2, [[3n, 2]], [2n])).toThrow('should have holders 2:1; waiters 3:1');
  });

  test('a token that is not new', () => {
    const { model, seen } = modelled();
    model.apply(acquire(1n), held(5));
    model.apply(acquire(2n), WAITING);
    seen(5, [[1n, 5]], [2n]);
    model.apply(release(1n, 5), RELEASED);
    expect(() => seen(5, [[2n, 5]])).toThrow('token 5 was given after revision 5');
  });

  test('a release that finds what is not there', () => {
    const { model } = modelled();
    model.apply(acquire(1n), held(1));
    expect(() => model.apply(release(2n, 1), RELEASED)).toThrow('gave back token 1, which was found');
  });

  test('who has ended is let in, or stays', () => {
    const { model, seen } = modelled();
    model.apply(acquire(1n), held(1));
    seen(1, [[1n, 1]]);
    model.apply({ kind: SessionCommandKind.revoke, lease: 1n }, { case: 'done', revision: 2 });
    expect(() => seen(2, [[1n, 1]])).toThrow('a has holders 1:1');
    expect(() => model.apply(acquire(1n), held(3))).toThrow('session 1 has ended and was let in');
  });

  test('what a deposed leader says is taken', () => {
    const { model } = modelled();
    const counted = (isCurrent: boolean): SessionOutcome => ({ case: 'counted', isCurrent, timeMs: 0 });
    model.apply({ kind: SessionCommandKind.beginTerm, term: 4 }, counted(true));
    const expire = { kind: SessionCommandKind.expire, leases: [1n] } as const;
    expect(() => model.apply({ ...expire, term: 3 }, counted(true))).toThrow('was taken in 4');
    expect(() => model.apply({ ...expire, term: 4 }, counted(false))).toThrow('was passed over in 4');
  });
});

describe('holders', () => {
  const believer = (changes: Partial<Believer>): Believer => ({
    who: 'me',
    kind: 'locks',
    name: 'a',
    token: 1,
    isHeld: () => false,
    hasSignalled: () => true,
    isAwake: () => true,
    ...changes,
  });
  const gone = { places: [] } as never;

  test.each<[string, Partial<Believer>, string | undefined]>([
    ['who knows', {}, undefined],
    ['who believes', { isHeld: () => true }, 'believes in token 1'],
    ['who was not told', { hasSignalled: () => false }, 'the signal of me has not fired'],
    ['who sleeps', { hasSignalled: () => false, isAwake: () => false }, undefined],
  ])('%s', (_, changes, message) => {
    const checker = new LockChecker(() => false);
    checker.onGranted('locks', 'a', 1n, 1);
    checker.believes(believer(changes));
    const onQueue = () => checker.onQueue('locks', 'a', gone);
    if (message === undefined) expect(onQueue).not.toThrow();
    else expect(onQueue).toThrow(message);
  });

  test('a token that nobody was given, or two were', () => {
    const checker = new LockChecker(() => false);
    expect(() => checker.believes(believer({}))).toThrow('which nobody was given');
    checker.onGranted('locks', 'a', 1n, 1);
    expect(() => checker.onGranted('locks', 'a', 2n, 1)).toThrow('was given to 1 and 2');
  });

  test('a write by a lower token after a higher one', () => {
    const checker = new LockChecker(() => false);
    checker.onWritten('r', 1n, 5n, 'me');
    checker.onWritten('r', 3n, 4n, 'you');
    checker.onWritten('r', 2n, 4n, 'you');
    expect(() => checker.checkWrites()).toThrow('took token 4 of you at version 2 after 5 of me');
  });
});

describe('leases', () => {
  const leased = (changes: Partial<HeldLease>, nowMs = 1_000, fastest = 1) => {
    const checker = new LeaseChecker({ nowMs: () => nowMs, fastest: () => fastest, mayOutlast: () => false });
    checker.onGranted(1n);
    checker.holds({
      who: 'me',
      lease: 1n,
      ttlMs: 1_000,
      keptAtMs: 0,
      isAlive: () => false,
      hasSignalled: () => true,
      isAwake: () => true,
      ...changes,
    });
    return () => checker.onEnded(1n, true);
  };

  test('one that lived its time is right to end', () => {
    expect(leased({})).not.toThrow();
    expect(leased({}, 910, 1.1)).not.toThrow();
  });

  test('one that ended early, or in spite of who kept it alive', () => {
    expect(leased({ keptAtMs: 500 })).toThrow('lived 500 ms of 1000');
    expect(leased({ isAlive: () => true })).toThrow('is kept alive');
    expect(leased({ hasSignalled: () => false })).toThrow('its signal has not fired');
  });
});

describe('observers', () => {
  const leader = (token: bigint, revision: bigint) => ({ session: 1n, token, revision, value: 'x' });
  const observing = () => {
    const checker = new ElectionChecker();
    for (const [token, revision] of [
      [1n, 1n],
      [1n, 2n],
      [5n, 5n],
    ] as const)
      checker.onSaid('a', leader(token, revision));
    return checker;
  };

  test('in order is right, with some left out', () => {
    const checker = observing();
    checker.observed('me', 'a', leader(1n, 1n));
    checker.observed('me', 'a', undefined);
    checker.observed('me', 'a', leader(5n, 5n));
    expect(checker.believed).toEqual(['me a']);
  });

  test('an older leader, one that never was, one that is over', () => {
    const checker = observing();
    checker.observed('me', 'a', leader(5n, 5n));
    expect(() => checker.observed('me', 'a', leader(1n, 2n))).toThrow('after session 1 token 5');
    expect(() => checker.observed('you', 'a', leader(1n, 3n))).toThrow('the log has undefined');
    checker.observed('he', 'a', leader(1n, 1n));
    checker.observed('he', 'a', undefined);
    expect(() => checker.observed('he', 'a', leader(1n, 2n))).toThrow('was told');
  });
});

describe('numbers', () => {
  test('IDs of a worker grow, and are given once', () => {
    const checker = new NumberChecker();
    const known = checker.begin();
    checker.made('me', known, [composeId(5, 1, 0), composeId(5, 1, 1)]);
    checker.made('you', known, [composeId(4, 1, 0)]);
    expect(() => checker.made('you', checker.begin(), [composeId(3, 1, 0)])).toThrow('which had given');
    expect(() => checker.unique('you', composeId(5, 1, 1))).toThrow('me');
  });

  test('numbers of a sequence follow each other, and are given to one', () => {
    const checker = new NumberChecker();
    const known = checker.begin();
    checker.onNext({ name: 's', count: 2 }, 1);
    checker.taken('me', known, 's', 1n, 2);
    expect(() => checker.taken('you', known, 's', 1n, 2)).toThrow('both given');
    expect(() => checker.taken('you', known, 's', 3n, 1)).toThrow('the log gave undefined');
    expect(() => checker.onNext({ name: 's', count: 1 }, 2)).toThrow('gave out 2 after 2');
  });
});

/** A tree in which key `a` was put at revisions 1, 2 and 3, with the values `v1`, `v2` and `v3`. */
function configured(valueAt: (revision: number) => string = (revision) => `v${revision}`) {
  const checker = new ConfigChecker();
  const history = {
    event: ({ revision, number }: { revision: number; number: number }): ConfigEvent | undefined => {
      if (number > 0 || revision < 1 || revision > 3) return undefined;
      const entry = {
        key: Buffer.from('a'),
        value: Buffer.from(valueAt(revision)),
        createRevision: 1,
        modRevision: revision,
        version: revision,
        lease: 0n,
      };
      return { revision, number, isDelete: false, entry, previous: undefined };
    },
  } as never;
  const put = (revision: number, ifModRevision?: number) => {
    const operation = {
      case: 'put' as const,
      key: 'a',
      value: Buffer.from(`v${revision}`),
      lease: 0n,
      ifModRevision,
      returnPrevious: false,
      keepValue: false,
      keepLease: false,
    };
    const transaction = { comparisons: [], thenOperations: [operation], elseOperations: [] };
    const transact: ConfigTransact = { quotaBytes: 1_000, transaction };
    const result = encodeTransactOutcome({
      case: 'transaction',
      succeeded: true,
      results: [{ case: 'put', previous: undefined }],
      revision,
    });
    checker.onTransact(transact, result, history);
  };
  return { checker, put };
}

function entry(revision: bigint): ReadEntry {
  return {
    key: 'a',
    value: `v${revision}`,
    createRevision: 1n,
    modRevision: revision,
    version: revision,
    lease: undefined,
  };
}

describe('configuration', () => {
  test('what was written and read is right', () => {
    const { checker, put } = configured();
    const before = checker.begin('me', 'get');
    put(1);
    put(2);
    checker.written(checker.begin('me', 'put'), 2n, new Map([['a', 'v2']]));
    checker.got(before, 'a', undefined, {});
    checker.got(before, 'a', entry(1n), {});
    checker.got(checker.begin('me', 'get'), 'a', entry(2n), {});
    checker.got(checker.begin('me', 'get'), 'a', entry(1n), { revision: 1 });
    checker.listed(before, { start: '', end: undefined }, { entries: [entry(1n)], revision: 1n }, {});
    checker.checkFailed();
  });

  test('a read of what was before, of what never was, of the future', () => {
    const { checker, put } = configured();
    put(1);
    put(2);
    checker.written(checker.begin('me', 'put'), 2n, new Map([['a', 'v2']]));
    const call = checker.begin('me', 'get');
    expect(() => checker.got(call, 'a', entry(1n), {})).toThrow('which a was not from 2 to 2');
    expect(() => checker.got(call, 'a', entry(3n), { stale: true })).toThrow('from 0 to 2');
    const all = { start: '', end: undefined };
    expect(() => checker.listed(call, all, { entries: [], revision: 3n }, {})).toThrow('beyond 2');
    expect(() => checker.listed(call, all, { entries: [], revision: 2n }, {})).toThrow('where there was');
    expect(() => checker.listed(call, all, { entries: [entry(1n)], revision: 1n }, {})).toThrow('2 was told');
  });

  test('a write whose revision is not later, or not its own', () => {
    const { checker, put } = configured();
    put(1);
    put(2);
    checker.written(checker.begin('me', 'put'), 2n, new Map([['a', 'v2']]));
    const call = checker.begin('you', 'put');
    expect(() => checker.written(call, 1n, new Map([['a', 'v1']]))).toThrow('2 was told before');
    put(3);
    expect(() => checker.written(call, 3n, new Map([['a', 'x']]))).toThrow('where a is not x');
  });

  test('a write that failed and was applied', () => {
    const { checker, put } = configured();
    put(1);
    checker.notApplied(checker.begin('me', 'put'), ['v1']);
    expect(() => checker.checkFailed()).toThrow('is at revision 1');
  });

  test('a node that has made another change than the log, or in spite of a condition', () => {
    const other = configured(() => 'x');
    expect(() => other.put(1)).toThrow('revision 1 changed put a=x');
    const { put } = configured();
    put(1);
    expect(() => put(2, 7)).toThrow('should have in "REVISION_MISMATCH"');
  });
});

describe('watches', () => {
  const told = (revision: bigint): ToldEvent => {
    return { isDelete: false, key: 'a', revision, entry: entry(revision), previous: undefined };
  };
  const watching = (from: number | undefined) => {
    const { checker, put } = configured();
    for (const revision of [1, 2, 3]) put(revision);
    const plan = { what: 'a', selects: () => true, puts: true, deletes: true, previous: false };
    return { checker, watch: new WatchChecker('me', plan, checker, from) };
  };

  test('all changes in order are right, from where it began', () => {
    const { watch } = watching(1);
    watch.changes(2, [told(1n), told(2n)]);
    expect(watch.isCaughtUp).toBe(false);
    watch.changes(3, [told(3n)]);
    expect(watch.isCaughtUp).toBe(true);
    const now = watching(undefined).watch;
    now.started(2, 3);
    now.changes(3, [told(2n), told(3n)]);
  });

  test('one is missing, told twice, or said to be told', () => {
    expect(() => watching(1).watch.changes(3, [told(1n), told(3n)])).toThrow('from 1 to 3 was told');
    const { watch } = watching(1);
    watch.changes(2, [told(1n), told(2n)]);
    expect(() => watch.changes(3, [told(2n), told(3n)])).toThrow('from 3 to 3 was told');
    expect(() => watch.progress(3)).toThrow('was not told of 3');
  });

  test('what is not compacted is not to be read anew', () => {
    const { watch, checker } = watching(1);
    expect(() => watch.resync(2)).toThrow('is to read anew at 2');
    checker.onCompacted(3);
    watch.resync(2);
    watch.changes(3, [told(3n)]);
  });
});
