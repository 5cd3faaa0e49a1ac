import { beforeEach, expect, test } from 'vitest';
import fc from 'fast-check';
import { MAX_HANGING, type Hanging } from '../../node/coordination/lease-table.ts';
import {
  SessionCommandKind as Kind,
  readSessionCommand,
  writeSessionCommand,
  type SessionCommand,
} from '../../node/coordination/session-command.ts';
import {
  readSessionOutcome,
  writeSessionOutcome,
  type SessionOutcome,
} from '../../node/coordination/session-outcome.ts';
import type { Refusal } from '../../node/coordination/refusal.ts';
import { SessionState } from '../../node/coordination/session-state.ts';
import { HoldMode } from '../../node/coordination/wait-queue.ts';
import { ByteReader, ByteWriter } from '../../node/storage/byte-codec.ts';
import { StepRows } from './step-rows.ts';

class Rig {
  readonly rows = new StepRows();
  readonly told: string[] = [];
  revision = 100;
  stampMs = 1_760_000_000_000;
  readonly state = new SessionState(
    this.rows,
    'g',
    { deleteKeysOf: (lease, revision) => this.told.push(`keys of ${lease} at ${revision}`) },
    {
      onLeaseGranted: (lease, { ttlMs }) => this.told.push(`lease ${lease} ${ttlMs}`),
      onLeaseEnded: (lease, hasExpired) => this.told.push(`${hasExpired ? 'expired' : 'revoked'} ${lease}`),
      onServed: (kind, name, { session, token }) => this.told.push(`${kind} ${name} to ${session} ${token}`),
      onGivenUp: (kind, name, session, request) =>
        this.told.push(`${kind} ${name} given up by ${session} ${request}`),
      onElection: (name) => this.told.push(`election ${name}`),
    },
  );

  /** Applies a command as it comes out of the log. */
  apply(command: SessionCommand): SessionOutcome | Refusal {
    const writer = new ByteWriter();
    writeSessionCommand(writer, command);
    const read = readSessionCommand(command.kind, new ByteReader(writer.finish()));
    expect(read).toEqual(command);
    const outcome = this.state.apply(read, {
      stampMs: this.stampMs++,
      revision: this.revision,
      nextRevision: () => ++this.revision,
    });
    this.rows.step();
    if ('refused' in outcome) return outcome;
    const bytes = new ByteWriter();
    writeSessionOutcome(bytes, outcome);
    expect(readSessionOutcome(new ByteReader(bytes.finish()))).toEqual(outcome);
    return outcome;
  }

  grant(lease: number, ttlMs = 10_000): SessionOutcome | Refusal {
    return this.apply({ kind: Kind.grant, lease: BigInt(lease), ttlMs, name: `n${lease}` });
  }

  acquire(session: number, name: string, more: Partial<Extract<SessionCommand, { kind: 30 }>> = {}) {
    return this.apply({
      kind: Kind.acquire,
      session: BigInt(session),
      name,
      request: 'r',
      attempt: 1,
      mode: HoldMode.exclusive,
      permits: 0,
      mayWait: true,
      ...more,
    });
  }

  campaign(session: number, name: string, value: string): SessionOutcome | Refusal {
    return this.apply({
      kind: Kind.campaign,
      session: BigInt(session),
      name,
      attempt: 1,
      value: Uint8Array.from(Buffer.from(value)),
    });
  }

  revoke(lease: number): SessionOutcome | Refusal {
    return this.apply({ kind: Kind.revoke, lease: BigInt(lease) });
  }
}

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});

test('the cluster chooses numbers that it has not chosen before', () => {
  const chosen = new Set<bigint>();
  for (let at = 0; at < 50; at++) {
    const outcome = rig.grant(0);
    if (!('lease' in outcome)) throw new Error('no lease');
    expect(chosen.has(outcome.lease)).toBe(false);
    chosen.add(outcome.lease);
    if (at % 3 === 0) rig.apply({ kind: Kind.revoke, lease: outcome.lease });
    if (at % 5 === 0) rig.stampMs -= 2; // log time does not go on
  }
  rig.apply({ kind: Kind.grant, lease: [...chosen].at(-1)! + 1n, ttlMs: 1_000, name: '' });
  const next = rig.grant(0);
  expect(next).toMatchObject({ case: 'lease' });
  expect(next).not.toMatchObject({ lease: [...chosen].at(-1)! + 1n });
  expect(rig.grant(7)).toMatchObject({ lease: 7n, ttlMs: 10_000 });
  expect(rig.grant(7)).toMatchObject({ refused: 'LEASE_EXISTS' });
  rig.revoke(7);
  expect(rig.grant(7)).toMatchObject({ lease: 7n });
});

test('a lease ends with its keys, locks and candidacies at once, and the next ones are served', () => {
  for (const lease of [1, 2, 3]) rig.grant(lease);
  rig.state.leases.addKeys(1n, 2);
  rig.rows.step();
  rig.acquire(1, 'lock');
  rig.acquire(2, 'lock');
  rig.acquire(3, 'lock');
  rig.acquire(2, 'other');
  rig.acquire(1, 'other');
  rig.campaign(1, 'lead', 'one');
  rig.campaign(3, 'lead', 'three');
  rig.told.length = 0;
  const before = rig.revision;
  expect(rig.revoke(1)).toEqual({ case: 'done', revision: before + 1 });
  expect(rig.told).toEqual([
    `keys of 1 at ${before + 1}`,
    `locks lock to 2 ${before + 2}`,
    `elections lead to 3 ${before + 3}`,
    'election lead',
    'revoked 1',
  ]);
  expect(rig.state.locks.get('other')!.waiters).toEqual([]);
  expect(rig.revoke(1)).toMatchObject({ refused: 'LEASE_UNKNOWN' });
  expect(rig.acquire(1, 'lock')).toMatchObject({ refused: 'SESSION_EXPIRED' });
  expect(rig.campaign(1, 'lead', 'x')).toMatchObject({ refused: 'SESSION_EXPIRED' });
});

test('a waiter whose session died is skipped', () => {
  for (const lease of [1, 2, 3]) rig.grant(lease);
  for (const lease of [1, 2, 3]) rig.acquire(lease, 'lock');
  rig.revoke(2);
  const held = rig.state.locks.get('lock')!.holders[0]!;
  rig.told.length = 0;
  rig.apply({
    kind: Kind.release,
    session: 1n,
    name: 'lock',
    request: 'r',
    token: held.token,
    attempt: undefined,
  });
  expect(rig.told).toEqual([`locks lock to 3 ${rig.revision}`]);
});

test('only the leader of the newest lease term ends leases', () => {
  rig.grant(1);
  rig.apply({ kind: Kind.beginTerm, term: 5 });
  expect(rig.apply({ kind: Kind.beginTerm, term: 4 })).toMatchObject({ isCurrent: false });
  expect(rig.apply({ kind: Kind.beginTerm, term: 7 })).toMatchObject({ isCurrent: true });
  expect(rig.apply({ kind: Kind.beginTerm, term: 7 })).toMatchObject({ isCurrent: true });
  expect(rig.apply({ kind: Kind.expire, term: 5, leases: [1n] })).toMatchObject({ isCurrent: false });
  expect(rig.state.leases.get(1n)).toBeDefined();
  const stale = { kind: Kind.checkpoint, term: 5, timeMs: 900, anchored: [], afloat: [] } as const;
  expect(rig.apply(stale)).toMatchObject({ isCurrent: false, timeMs: 0 });
  expect(
    rig.apply({
      ...stale,
      term: 7,
      anchored: [
        { lease: 1n, endsMs: 4_000 },
        { lease: 2n, endsMs: 1 },
      ],
    }),
  ).toMatchObject({ isCurrent: true, timeMs: 900 });
  expect(rig.state.leases.get(1n)!.endsMs).toBe(4_000);
  rig.apply({ ...stale, term: 7, timeMs: 950, afloat: [1n] });
  expect(rig.state.leases.get(1n)!.endsMs).toBeUndefined();
  rig.apply({ kind: Kind.expire, term: 7, leases: [1n, 2n] });
  expect(rig.told.at(-1)).toBe('expired 1');
  expect(rig.state.leases.clock).toMatchObject({ leases: 0, timeMs: 950, term: 7 });
});

test('as much hangs on a lease as may', () => {
  rig.grant(1);
  rig.state.leases.addKeys(1n, MAX_HANGING - 1);
  rig.rows.step();
  expect(rig.acquire(1, 'a')).toMatchObject({ case: 'held' });
  expect(rig.acquire(1, 'a', { request: 'again' })).toMatchObject({ holds: 2 });
  expect(rig.acquire(1, 'b')).toMatchObject({ refused: 'LEASE_FULL' });
  expect(rig.campaign(1, 'e', '')).toMatchObject({ refused: 'LEASE_FULL' });
  expect(rig.state.leases.room(1n)).toBe('LEASE_FULL');
});

test('elections: who leads may say something else, who is deposed may not', () => {
  rig.grant(1);
  rig.grant(2);
  const held = rig.campaign(1, 'e', 'one');
  if (!('token' in held)) throw new Error('not held');
  expect(rig.campaign(2, 'e', 'two')).toMatchObject({ case: 'waiting' });
  expect(rig.campaign(2, 'e', 'second thoughts')).toMatchObject({ case: 'waiting' });
  const value = Uint8Array.from([1, 2]);
  const said = rig.apply({ kind: Kind.proclaim, session: 1n, name: 'e', token: held.token, value });
  expect(said).toEqual({ case: 'done', revision: rig.revision });
  expect(rig.state.elections.get('e')!.holders[0]).toMatchObject({ said: value, saidAt: rig.revision });
  for (const session of [1n, 2n]) {
    const wrong = { kind: Kind.proclaim, session, name: 'e', token: held.token + 1, value } as const;
    expect(rig.apply(wrong)).toMatchObject({ refused: 'NOT_ELECTED' });
  }
  rig.apply({ kind: Kind.resign, session: 1n, name: 'e', token: held.token, attempt: undefined });
  expect(Buffer.from(rig.state.elections.get('e')!.holders[0]!.said).toString()).toBe('second thoughts');
  expect(
    rig.apply({ kind: Kind.resign, session: 1n, name: 'e', token: held.token, attempt: undefined }),
  ).toMatchObject({ refused: 'NOT_ELECTED' });
  expect(
    rig.apply({ kind: Kind.resign, session: 2n, name: 'e', token: 0, attempt: undefined }),
  ).toMatchObject({ wasFound: true });
  expect(rig.state.elections.get('e')).toBeUndefined();
});

test('an attempt that was given up is forgotten for good, also where another one goes on', () => {
  for (const lease of [1, 2]) rig.grant(lease);
  rig.acquire(1, 'a');
  for (const attempt of [1, 2]) rig.acquire(2, 'a', { attempt });
  const giveUp = (attempt: number) =>
    rig.apply({ kind: Kind.release, session: 2n, name: 'a', request: 'r', token: 0, attempt });
  expect(giveUp(2)).toEqual({ case: 'released', holds: 1, wasFound: false });
  expect(giveUp(1)).toEqual({ case: 'released', holds: 0, wasFound: true });
  expect(rig.state.locks.get('a')!.waiters).toEqual([]);
});

const lease = fc.integer({ min: 1, max: 4 });
const name = fc.constantFrom('a', 'b', 'c');
const step = fc.oneof(
  fc.record({ do: fc.constant('grant' as const), lease }),
  fc.record({ do: fc.constant('revoke' as const), lease }),
  fc.record({ do: fc.constant('expire' as const), leases: fc.array(lease, { maxLength: 3 }) }),
  fc.record({
    do: fc.constant('acquire' as const),
    lease,
    name,
    request: fc.constantFrom('x', 'y'),
    mode: fc.constantFrom(HoldMode.exclusive, HoldMode.shared),
    mayWait: fc.boolean(),
  }),
  fc.record({ do: fc.constant('campaign' as const), lease, name }),
  fc.record({
    do: fc.constant('release' as const),
    lease,
    name,
    request: fc.constantFrom('x', 'y'),
    byToken: fc.boolean(),
  }),
  fc.record({ do: fc.constant('resign' as const), lease, name, byToken: fc.boolean() }),
);

test('what hangs on a lease is what stands in the queues, and tokens only grow', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const own = new Rig();
      let greatest = 0;
      own.apply({ kind: Kind.beginTerm, term: 1 });
      for (const one of steps) {
        if (one.do === 'grant') own.grant(one.lease);
        else if (one.do === 'revoke') own.revoke(one.lease);
        else if (one.do === 'expire')
          own.apply({ kind: Kind.expire, term: 1, leases: one.leases.map(BigInt) });
        else if (one.do === 'acquire') {
          const { request, mode, mayWait } = one;
          own.acquire(one.lease, one.name, { request, mode, mayWait });
        } else if (one.do === 'campaign') own.campaign(one.lease, one.name, `of ${one.lease}`);
        else {
          const kind = one.do === 'release' ? 'locks' : 'elections';
          const session = BigInt(one.lease);
          const token = one.byToken ? (own.state[kind].get(one.name)?.place(session)?.token ?? 0) : 0;
          const given = { session, name: one.name, token, attempt: undefined };
          if (one.do === 'resign') own.apply({ kind: Kind.resign, ...given });
          else own.apply({ kind: Kind.release, ...given, request: one.request });
        }
        for (const kind of ['locks', 'elections'] as const) check(own, kind);
        for (const told of own.told.splice(0)) {
          const token = Number(/ to \d+ (\d+)$/.exec(told)?.[1] ?? Infinity);
          if (token === Infinity) continue;
          expect(token).toBeGreaterThan(greatest);
          greatest = token;
        }
      }
    }),
    { numRuns: 500 },
  );
});

function check({ state }: Rig, kind: Hanging): void {
  const standing = new Set<string>();
  for (const each of ['a', 'b', 'c']) {
    const queue = state[kind].get(each);
    if (queue === undefined) continue;
    expect(queue.isFree).toBe(false);
    expect(queue.holders.length).toBeGreaterThan(0);
    for (const { session } of [...queue.holders, ...queue.waiters]) standing.add(`${session} ${each}`);
  }
  const hanging = new Set<string>();
  for (const each of [1n, 2n, 3n, 4n])
    for (const held of state.leases.get(each)?.[kind] ?? []) hanging.add(`${each} ${held}`);
  expect(hanging).toEqual(standing);
}
