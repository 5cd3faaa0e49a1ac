import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AuthKind, writeAuthCommand, type AuthCommand } from '../../node/coordination/auth-command.ts';
import { AuthPart, MAX_AUTH_BYTES } from '../../node/coordination/auth-part.ts';
import { rangeSpan, type KeyUse, type PermissionRange } from '../../node/coordination/auth-permission.ts';
import { CoordinationKind } from '../../node/coordination/coordination-command.ts';
import { isRefusal, type Outcome } from '../../node/coordination/refusal.ts';
import { ByteReader, ByteWriter } from '../../node/storage/byte-codec.ts';
import { NaiveAuth } from './naive-auth.ts';
import { MemoryRows } from './part-rows.ts';

const PREFIX = 'group-prefix';
const SECRET = Buffer.alloc(32, 7);
const PASSWORD = Buffer.from('record');
const NONE = new Uint8Array(0);

function parsed(part: AuthPart, command: AuthCommand): unknown {
  const writer = new ByteWriter();
  writeAuthCommand(writer, command);
  return part.parse(command.kind, new ByteReader(writer.finish()));
}

class Rig {
  readonly rows = new MemoryRows();
  changes = 0;
  part = this.#make();

  restart(): void {
    this.rows.reread();
    this.part = this.#make();
  }

  do(command: AuthCommand): Outcome {
    return this.part.apply(command.kind, parsed(this.part, command));
  }

  /** What it was refused for; undefined: it was done. */
  refused(command: AuthCommand): string | undefined {
    const outcome = this.do(command);
    return isRefusal(outcome) ? outcome.refused : undefined;
  }

  #make(): AuthPart {
    return new AuthPart(this.rows, PREFIX, () => this.changes++);
  }
}

const users = fc.constantFrom('root', 'alice', 'bob');
const roles = fc.constantFrom('root', 'reader', 'writer');
const keys = fc.constantFrom('a', 'b', 'c', 'd');
const ranges: fc.Arbitrary<PermissionRange> = fc.record({
  key: keys,
  rangeEnd: fc.constantFrom('', '\0', 'b', 'c', 'e'),
});
const passwords = fc.constantFrom<Uint8Array>(PASSWORD, NONE);
const commands: fc.Arbitrary<AuthCommand> = fc.oneof(
  fc.constant({ kind: AuthKind.enable, secret: SECRET }),
  fc.constant({ kind: AuthKind.disable }),
  fc.record({
    kind: fc.constantFrom(AuthKind.addUser, AuthKind.changePassword),
    user: users,
    password: passwords,
  }),
  fc.record({ kind: fc.constant(AuthKind.deleteUser), user: users }),
  fc.record({ kind: fc.constantFrom(AuthKind.grantRole, AuthKind.revokeRole), user: users, role: roles }),
  fc.record({ kind: fc.constantFrom(AuthKind.addRole, AuthKind.deleteRole), role: roles }),
  fc.record({
    kind: fc.constant(AuthKind.grantPermission),
    role: roles,
    permission: fc.tuple(fc.constantFrom(0, 1, 2), ranges).map(([kind, range]) => ({ kind, ...range })),
  }) as fc.Arbitrary<AuthCommand>,
  fc.record({ kind: fc.constant(AuthKind.revokePermission), role: roles, range: ranges }),
);

test('users, roles and permissions are those of a naive model, through restarts', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(commands, fc.boolean()), { maxLength: 60 }), (steps) => {
      const rig = new Rig();
      const model = new NaiveAuth();
      for (const [command, isRestarted] of steps) {
        const before = rig.rows.written();
        const revision = rig.part.state.revision;
        const expected = model.apply(command);
        expect(rig.refused(command)).toBe(expected.refused);
        expect(rig.part.state.revision).toBe(revision + (expected.changed ? 1 : 0));
        if (!expected.changed) expect(rig.rows.written()).toEqual(before);
        if (isRestarted) rig.restart();
        expect(rig.part.state.isEnabled).toBe(model.isEnabled);
        for (const user of ['root', 'alice', 'bob', 'nobody'])
          for (const use of ['read', 'write'] satisfies KeyUse[])
            for (const key of ['a', 'b', 'c', 'd', 'e'])
              expect(rig.part.allows(user, use, rangeSpan({ key, rangeEnd: '' }))).toBe(
                model.allows(user, use, key),
              );
      }
      expect(rig.changes).toBe(rig.part.state.revision - 1);
    }),
    { numRuns: 300 },
  );
});

function rigWithRoot(): Rig {
  const rig = new Rig();
  rig.do({ kind: AuthKind.addUser, user: 'root', password: PASSWORD });
  rig.do({ kind: AuthKind.grantRole, user: 'root', role: 'root' });
  return rig;
}

test('permissions can be asked for only when root exists, has its role, and can log in', () => {
  const rig = new Rig();
  const enable = { kind: AuthKind.enable, secret: SECRET };
  expect(rig.do(enable)).toEqual({ refused: 'AUTH_ROOT_MISSING', actual: 'user' });
  rig.do({ kind: AuthKind.addUser, user: 'root', password: NONE });
  expect(rig.do(enable)).toEqual({ refused: 'AUTH_ROOT_MISSING', actual: 'role' });
  rig.do({ kind: AuthKind.grantRole, user: 'root', role: 'root' });
  expect(rig.do(enable)).toEqual({ refused: 'AUTH_ROOT_MISSING', actual: 'password' });
  rig.do({ kind: AuthKind.changePassword, user: 'root', password: PASSWORD });
  expect(rig.refused(enable)).toBeUndefined();
  expect(rig.part.state.isEnabled).toBe(true);
  for (const taken of [
    { kind: AuthKind.deleteUser, user: 'root' },
    { kind: AuthKind.revokeRole, user: 'root', role: 'root' },
    { kind: AuthKind.deleteRole, role: 'root' },
    { kind: AuthKind.changePassword, user: 'root', password: NONE },
  ] satisfies AuthCommand[])
    expect(rig.refused(taken)).toBe('AUTH_PROTECTED');
});

test('a token is taken from the last password on, and not over a time without permissions', () => {
  const rig = rigWithRoot();
  rig.do({ kind: AuthKind.enable, secret: SECRET });
  const made = rig.part.state.revision;
  expect(rig.part.userOf('root', made)).toBeDefined();
  rig.do({ kind: AuthKind.addRole, role: 'reader' });
  expect(rig.part.userOf('root', made)).toBeDefined();
  rig.do({ kind: AuthKind.changePassword, user: 'root', password: PASSWORD });
  expect(rig.part.userOf('root', made)).toBeUndefined();
  const later = rig.part.state.revision;
  expect(rig.part.userOf('root', later)).toBeDefined();
  rig.do({ kind: AuthKind.disable });
  rig.do({ kind: AuthKind.enable, secret: SECRET });
  expect(rig.part.userOf('root', later)).toBeUndefined();
  expect(rig.part.userOf('nobody', later)).toBeUndefined();
});

test('who is created anew is somebody else', () => {
  const rig = new Rig();
  rig.do({ kind: AuthKind.addUser, user: 'alice', password: PASSWORD });
  const made = rig.part.state.revision;
  rig.do({ kind: AuthKind.deleteUser, user: 'alice' });
  rig.do({ kind: AuthKind.addUser, user: 'alice', password: PASSWORD });
  expect(rig.part.userOf('alice', made)).toBeUndefined();
  expect(rig.part.state.users.get('alice')!.roles).toEqual([]);
});

describe('what is to be applied', () => {
  const of = (rig: Rig, kind: number, checkedAt?: number) => rig.part.refusalOf(kind, checkedAt)?.refused;

  test('nothing is asked before permissions are', () => {
    const rig = rigWithRoot();
    expect(of(rig, CoordinationKind.configTransact)).toBeUndefined();
    expect(of(rig, CoordinationKind.configTransact, 1)).toBeUndefined();
  });

  test('a change by users was checked by the permissions as they are', () => {
    const rig = rigWithRoot();
    rig.do({ kind: AuthKind.enable, secret: SECRET });
    const { revision } = rig.part.state;
    expect(of(rig, CoordinationKind.configTransact, revision)).toBeUndefined();
    expect(of(rig, CoordinationKind.configTransact, revision - 1)).toBe('AUTH_REVISION_OLD');
    expect(of(rig, CoordinationKind.configTransact)).toBe('AUTH_REVISION_OLD');
    expect(of(rig, AuthKind.disable)).toBe('AUTH_REVISION_OLD');
    // What nodes do by themselves nobody has asked for.
    expect(of(rig, CoordinationKind.leaseExpire)).toBeUndefined();
    expect(of(rig, CoordinationKind.leaseExpire, revision - 1)).toBe('AUTH_REVISION_OLD');
  });
});

test('users and roles are bounded together, and what does not fit changes nothing', () => {
  const rig = new Rig();
  const name = (number: number) => `${number}`.padStart(250, 'x');
  let added = 0;
  while (rig.refused({ kind: AuthKind.addRole, role: name(added) }) === undefined) added++;
  expect(added).toBeGreaterThan(4_000);
  expect(rig.part.state.encode().byteLength).toBeLessThanOrEqual(MAX_AUTH_BYTES);
  const { revision } = rig.part.state;
  expect(rig.refused({ kind: AuthKind.addUser, user: name(0), password: PASSWORD })).toBe('AUTH_FULL');
  expect(rig.part.state.revision).toBe(revision);
  expect(rig.part.state.users.size).toBe(0);
});

test('what cannot be applied is not a command', () => {
  const { part } = new Rig();
  for (const user of ['', 'x'.repeat(257)])
    expect(() => parsed(part, { kind: AuthKind.deleteUser, user })).toThrow(RangeError);
  expect(() => parsed(part, { kind: AuthKind.enable, secret: Buffer.alloc(31) })).toThrow(RangeError);
  const long = Buffer.alloc(257);
  expect(() => parsed(part, { kind: AuthKind.addUser, user: 'a', password: long })).toThrow(RangeError);
  const range = { key: 'x'.repeat(4_097), rangeEnd: '' };
  expect(() => parsed(part, { kind: AuthKind.revokePermission, role: 'a', range })).toThrow(RangeError);
  const writer = new ByteWriter().latin1('role').u8(3).latin1('a').latin1('');
  expect(() => part.parse(AuthKind.grantPermission, new ByteReader(writer.finish()))).toThrow(RangeError);
});
