/** What is asked about all that hangs on a lease: of users only, and once. */
import { LeaseService } from '@holdfast/proto/lease/v1/lease';
import { expect, test } from 'vitest';
import { keySpan } from '../../node/coordination/config-command.ts';
import { Access, type Gate, type LeaseNeed } from '../../node/services/access.ts';
import { AccessRules, guardedService, type MethodRules } from '../../node/services/guarded-service.ts';
import type { ServedService } from '../../node/services/handler.ts';

const OPEN = { kind: 'write', needs: () => 'nothing' } as const;

/** A caller, and how often somebody looked what is on the lease. */
function caller(who: { case: 'user'; name: string } | { case: 'nobody' }, allowed = ['a', 'b']) {
  const state = { revision: 1 };
  const part = {
    state,
    isRoot: () => false,
    allows: (_name: string, _use: string, { start }: { start: string }) => allowed.includes(start),
  };
  const gate = { part, callerOf: () => who, awaitRead: async () => undefined } as unknown as Gate;
  const looks = { count: 0 };
  const need = (lease: bigint): LeaseNeed => ({
    use: 'write',
    lease,
    spans: () => {
      looks.count++;
      return [keySpan('a'), keySpan('b')];
    },
  });
  return { access: new Access(gate, 'token'), looks, need, state, allowed };
}

const USER = { case: 'user', name: 'ann' } as const;

test('a call that names one lease often looks at it once', () => {
  const { access, looks, need } = caller(USER);
  access.require(() => Array.from({ length: 1_000 }, () => need(7n)));
  expect(looks.count).toBe(1);
  access.require(() => [need(7n), need(8n), need(7n)]);
  expect(looks.count).toBe(3);
});

test('calls that come together look at it once, and again when permissions have changed', () => {
  const { access, looks, need, state, allowed } = caller(USER);
  const together = access.together();
  const each = Array.from({ length: 100 }, () => together.of(() => [need(7n)]));
  expect(looks.count).toBe(1);
  state.revision = 2;
  allowed.pop();
  expect(() => each[0]!.confirm()).toThrow(/no role of the user/);
  expect(looks.count).toBe(2);
});

test('what may not be used is refused however often it is named', () => {
  const { access, need } = caller(USER, ['a']);
  const together = access.together();
  for (const _ of [1, 2]) expect(() => together.of(() => [need(7n)])).toThrow(/no role of the user/);
});

test('for who has not logged in nobody looks', () => {
  const { access, looks, need } = caller({ case: 'nobody' });
  expect(() => access.require(() => [need(7n)])).toThrow(/shows no token/);
  expect(looks.count).toBe(0);
});

test('what is known here may be old: it is looked again at what others were told of', async () => {
  const hanging = [keySpan('a')];
  const { access } = caller(USER, ['a']);
  const gate = { reads: 0 };
  const settle = access.settle.bind(access);
  Object.assign(access, {
    settle: async (deadlineMs: number) => {
      gate.reads++;
      hanging.push(keySpan('of somebody else'));
      await settle(deadlineMs);
    },
  });
  const rules = new AccessRules().add(LeaseService, {
    ...Object.fromEntries(LeaseService.methods.map(({ localName }) => [localName, OPEN])),
    revoke: { kind: 'write', needs: () => [{ use: 'write', lease: 7n, spans: () => hanging }] },
  } as unknown as MethodRules<typeof LeaseService>);
  let calls = 0;
  const handlers = Object.fromEntries(
    LeaseService.methods.map(({ localName }) => [localName, async () => void calls++]),
  );
  const guarded = guardedService({ service: LeaseService, handlers } as unknown as ServedService, rules);
  const revoke = guarded.handlers['revoke'] as (context: object, request: object) => Promise<unknown>;
  await expect(revoke({ access, deadlineMs: 1_000 }, {})).rejects.toThrow(/no role of the user/);
  expect([calls, gate.reads > 0]).toEqual([0, true]);
});
