/** Who gets in, and who does not: passwords, tokens, and those who guess. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { AuthKind } from '../../node/coordination/auth-command.ts';
import { DEFAULT_TOKEN_TTL_MS } from '../../node/coordination/auth.ts';
import { keySpan } from '../../node/coordination/config-command.ts';
import { Access } from '../../node/services/access.ts';
import { JwtTokens, SIMPLE_TOKENS } from '../../node/coordination/tokens.ts';
import { JwtKeys } from '../../node/runtime/signatures.ts';
import { AuthRig, ROOT_PASSWORD, reasonOf } from './auth-rig.ts';

async function failure(work: Promise<unknown>): Promise<HoldfastError> {
  const error: unknown = await work.catch((caught: unknown) => caught);
  if (error instanceof HoldfastError) return error;
  throw new Error('it did not fail');
}

function shown({ reason, code, message, field, actual, limit, outcome }: HoldfastError): object {
  return { reason, code, message, field, actual, limit, outcome };
}

describe('passwords', () => {
  test('who knows one is let in', async () => {
    const rig = await AuthRig.enabled();
    const token = await rig.login('root', ROOT_PASSWORD);
    expect(rig.engine.auth.callerOf(token)).toEqual({ case: 'user', name: 'root' });
    expect(rig.engine.auth.logins).toMatchObject({ done: 1, failed: 0 });
  });

  test('a wrong one, an unknown user, and a user without one are told the same, after the same work', async () => {
    const rig = await AuthRig.enabled();
    await rig.addUser('alice', 'hers');
    const noPassword = { kind: AuthKind.addUser, user: 'keyless', password: new Uint8Array(0) };
    await rig.change(noPassword);
    rig.hashed.length = 0;
    const told: object[] = [];
    for (const user of ['alice', 'nobody', 'keyless', ''])
      told.push(shown(await failure(rig.login(user, 'not hers', `10.0.0.${told.length}`))));
    for (const one of told) expect(one).toEqual(told[0]);
    expect(told[0]).toMatchObject({ reason: 'LOGIN_FAILED', code: 'UNAUTHENTICATED' });
    // One hash each, of the same cost: what makes them take the same time.
    expect(rig.hashed).toHaveLength(4);
    expect(new Set(rig.hashed.map(({ cost }) => cost)).size).toBe(1);
    // An empty password is no password of a user who has none.
    expect(await reasonOf(rig.login('keyless', ''))).toBe('LOGIN_FAILED');
  });

  test('a wrong one is hashed each time, a right one once in a while', async () => {
    const rig = await AuthRig.enabled();
    rig.hashed.length = 0;
    for (let times = 0; times < 3; times++) await failure(rig.login('root', 'wrong'));
    expect(rig.hashed).toHaveLength(3);
    for (let times = 0; times < 3; times++) await rig.login('root', ROOT_PASSWORD);
    expect(rig.hashed).toHaveLength(4);
    await rig.run(
      rig.engine.auth.setPassword(AuthKind.changePassword, 'root', Buffer.from('another'), rig.terms),
    );
    expect(await reasonOf(rig.login('root', ROOT_PASSWORD))).toBe('LOGIN_FAILED');
    await rig.login('root', 'another');
  });

  test('are not needed, and not taken, when permissions are not asked for', async () => {
    const rig = await AuthRig.open();
    await rig.addUser('alice', 'hers');
    expect(await reasonOf(rig.login('alice', 'hers'))).toBe('AUTH_NOT_ENABLED');
    expect(rig.engine.auth.callerOf(undefined)).toEqual({ case: 'anyone' });
  });
});

describe('those who guess', () => {
  test('are slowed down for the user, whether it exists or not', async () => {
    const waits: number[][] = [];
    for (const user of ['alice', 'nobody']) {
      const rig = await AuthRig.enabled();
      await rig.addUser('alice', 'hers');
      const took: number[] = [];
      for (let times = 0; times < 11; times++) {
        const startMs = rig.node.clock.monotonicMs();
        // From another address each time: it is the user that counts.
        expect(await reasonOf(rig.login(user, 'guess', `10.0.0.${times}`))).toBe('LOGIN_FAILED');
        took.push(Math.round(rig.node.clock.monotonicMs() - startMs));
      }
      waits.push(took);
      // Nobody is locked out: who knows the password waits as long, and is let in.
      await rig.login('alice', 'hers', '10.0.1.1');
    }
    expect(waits[0]!.slice(0, 5).every((ms) => ms < 100)).toBe(true);
    expect(waits[0]!.slice(5)).toEqual(waits[0]!.slice(5).toSorted((a, b) => a - b));
    expect(waits[0]!.at(-1)).toBeGreaterThan(1_000);
    expect(waits[1]).toEqual(waits[0]);
  });

  test('are not remembered by more of a name than a user can have', async () => {
    const rig = await AuthRig.enabled();
    const guess = (end: string, times: number) =>
      reasonOf(rig.login('x'.repeat(900_000) + end, 'guess', `10.0.2.${times}`));
    for (let times = 0; times < 8; times++) expect(await guess('a', times)).toBe('LOGIN_FAILED');
    const startMs = rig.node.clock.monotonicMs();
    expect(await guess('b', 9)).toBe('LOGIN_FAILED');
    expect(rig.node.clock.monotonicMs() - startMs).toBeGreaterThan(300); // as if it had been the same
  });

  test('are slowed down by their address, whatever users they try', async () => {
    const rig = await AuthRig.enabled();
    const startMs = rig.node.clock.monotonicMs();
    for (let times = 0; times < 27; times++)
      expect(await reasonOf(rig.login(`user-${times}`, 'guess', '10.0.0.9'))).toBe('LOGIN_FAILED');
    expect(rig.node.clock.monotonicMs() - startMs).toBeGreaterThan(5_000);
    const calmMs = rig.node.clock.monotonicMs();
    await rig.login('root', ROOT_PASSWORD, '10.0.0.10');
    expect(rig.node.clock.monotonicMs() - calmMs).toBeLessThan(100);
  });

  test('cannot go round it by asking for much at once', async () => {
    const rig = await AuthRig.enabled();
    for (let times = 0; times < 8; times++) await failure(rig.login('root', 'guess'));
    rig.hashed.length = 0;
    const startMs = rig.node.clock.monotonicMs();
    const tries = Array.from({ length: 200 }, (_, at) => rig.login('root', 'guess', `10.1.0.${at}`, 9_000));
    const reasons = await Promise.all(tries.map(reasonOf));
    const tookMs = rig.node.clock.monotonicMs() - startMs;
    const delayed = reasons.filter((reason) => reason === 'LOGIN_DELAYED').length;
    expect(delayed).toBeGreaterThan(150);
    expect(rig.hashed.length).toBe(200 - delayed);
    expect(rig.engine.auth.logins.delayed).toBeGreaterThanOrEqual(delayed);
    expect(tookMs).toBeLessThan(60_000);
    // After a while it is forgotten.
    await rig.pass(1_200_000);
    const calmMs = rig.node.clock.monotonicMs();
    await rig.login('root', ROOT_PASSWORD);
    expect(rig.node.clock.monotonicMs() - calmMs).toBeLessThan(100);
  });
});

describe('tokens', () => {
  test('end with their time', async () => {
    const rig = await AuthRig.enabled();
    const token = await rig.login('root', ROOT_PASSWORD);
    await rig.pass(DEFAULT_TOKEN_TTL_MS - 1_000);
    expect(rig.engine.auth.callerOf(token).case).toBe('user');
    await rig.pass(1_001);
    expect(rig.engine.auth.callerOf(token).case).toBe('refused');
  });

  test('whose time is over begin nothing on a stream, and what was begun goes on', async () => {
    const rig = await AuthRig.enabled();
    const token = await rig.login('root', ROOT_PASSWORD);
    const access = new Access(rig.engine.auth, token);
    const span = () => keySpan('a');
    access.requireKeys('read', span);
    await rig.pass(rig.engine.auth.tokenTtlMs + 1_000);
    expect(() => access.requireKeys('read', span)).toThrow(/has expired/);
    expect(() => access.requireLogin()).toThrow(/has expired/);
    access.keepKeys('read', span);
    await rig.addUser('alice', 'hers'); // permissions have changed, not hers
    access.keepKeys('read', span);
    expect(() => new Access(rig.engine.auth, 'abc').keepKeys('read', span)).toThrow(/has expired/);
  });

  test('that are forged are not taken', async () => {
    const rig = await AuthRig.enabled();
    const token = await rig.login('root', ROOT_PASSWORD);
    const { auth } = rig.engine;
    const bytes = Buffer.from(token, 'base64url');
    for (let at = 0; at < bytes.length; at++) {
      const forged = Buffer.from(bytes);
      forged[at]! ^= 1;
      expect(['refused', 'ahead']).toContain(auth.callerOf(forged.toString('base64url')).case);
    }
    const claims = { isNode: true, name: 'root', madeAt: 1, expiresMs: Number.MAX_SAFE_INTEGER };
    for (const made of [
      SIMPLE_TOKENS.make(claims, Buffer.alloc(32)),
      SIMPLE_TOKENS.make({ ...claims, isNode: false }, new Uint8Array(0)),
      'abc',
      '.',
      token.slice(0, -1),
      'x'.repeat(10_000),
    ])
      expect(auth.callerOf(made).case).toBe('refused');
    // A revision that is not there yet is waited for, and then it is what it is.
    const ahead = SIMPLE_TOKENS.make({ ...claims, madeAt: 1_000 }, Buffer.alloc(32));
    const context = rig.context(ahead);
    expect(context.access.isAhead).toBe(true);
    await rig.run(context.access.settle(context.deadlineMs));
    expect(() => context.access.require(() => 'login')).toThrow(/TOKEN_INVALID/);
  });

  test('end with the password, with the user, and with the permissions', async () => {
    const rig = await AuthRig.enabled();
    await rig.addUser('alice', 'hers');
    const { auth } = rig.engine;
    const first = await rig.login('alice', 'hers');
    await rig.run(auth.setPassword(AuthKind.changePassword, 'alice', Buffer.from('new'), rig.terms));
    expect(auth.callerOf(first).case).toBe('refused');
    const second = await rig.login('alice', 'new');
    await rig.change({ kind: AuthKind.deleteUser, user: 'alice' });
    expect(auth.callerOf(second).case).toBe('refused');
    const third = await rig.login('root', ROOT_PASSWORD);
    await rig.change({ kind: AuthKind.disable });
    expect(auth.callerOf(third).case).toBe('anyone');
    await rig.run(auth.enable(rig.terms));
    expect(auth.callerOf(third).case).toBe('refused');
  });

  test('of a node do everything, as long as they are fresh', async () => {
    const rig = await AuthRig.enabled();
    const { auth } = rig.engine;
    const token = auth.nodeToken('n1')!;
    expect(auth.callerOf(token).case).toBe('node');
    expect(() => rig.context(token).access.require(() => 'node')).not.toThrow();
    await rig.pass(61_000);
    expect(auth.callerOf(token).case).toBe('refused');
    expect(auth.callerOf(auth.nodeToken('n1')).case).toBe('node');
    const users = await rig.login('root', ROOT_PASSWORD);
    expect(() => rig.context(users).access.require(() => 'node')).toThrow(/PERMISSION_DENIED/);
  });

  test('go on through a restart of the node', async () => {
    const rig = await AuthRig.enabled();
    const token = await rig.login('root', ROOT_PASSWORD);
    await rig.run(rig.engine.stop());
    const engine = await rig.run(rig.node.start());
    expect(engine.auth.callerOf(token)).toEqual({ case: 'user', name: 'root' });
    expect(engine.auth.callerOf(undefined)).toEqual({ case: 'nobody' });
  });
});

describe('JSON Web Tokens', () => {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = (key: KeyObject, type: 'spki' | 'pkcs8') =>
    Buffer.from(key.export({ type, format: 'pem' } as never) as string);
  const files = ({
    publicKey: open,
    privateKey: secret,
  }: {
    publicKey: KeyObject;
    privateKey: KeyObject;
  }) => ({
    publicKey: pem(open, 'spki'),
    privateKey: pem(secret, 'pkcs8'),
  });
  const publicKey = pem(pair.publicKey, 'spki');
  const privateKey = pem(pair.privateKey, 'pkcs8');
  const keys = new JwtKeys({ algorithm: 'ES256', publicKey, privateKey });
  const settings = { tokens: new JwtTokens(keys), tokenTtlMs: 600_000 };

  /** As somebody else would make it. */
  function made(header: object, claims: object, sign = (content: string) => keys.sign(Buffer.from(content))) {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const content = `${part(header)}.${part(claims)}`;
    return `${content}.${Buffer.from(sign(content)).toString('base64url')}`;
  }

  test('are made and taken', async () => {
    const rig = await AuthRig.enabled(settings);
    const token = await rig.login('root', ROOT_PASSWORD);
    const [header, claims] = token
      .split('.', 2)
      .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as object);
    expect(header).toEqual({ alg: 'ES256', typ: 'JWT' });
    expect(claims).toMatchObject({ username: 'root', revision: rig.engine.auth.part.state.revision });
    expect(rig.engine.auth.callerOf(token)).toEqual({ case: 'user', name: 'root' });
  });

  test('of others are taken if they are signed with the key, whatever they say of the algorithm', async () => {
    const rig = await AuthRig.enabled(settings);
    const { auth } = rig.engine;
    const nowS = Math.floor(rig.node.clock.wallMs() / 1_000);
    const right = { username: 'root', exp: nowS + 60 };
    const header = { alg: 'ES256', typ: 'JWT' };
    expect(auth.callerOf(made(header, right))).toEqual({ case: 'user', name: 'root' });
    const hmacWithPublicKey = new JwtKeys({
      algorithm: 'HS256',
      publicKey: undefined,
      privateKey: publicKey,
    });
    for (const wrong of [
      made({ alg: 'none' }, right, () => Buffer.alloc(0) as never),
      made({ alg: 'HS256' }, right, (content) => hmacWithPublicKey.sign(Buffer.from(content))),
      made({ alg: 'HS256' }, right),
      made({ ...header, crit: ['x'] }, right),
      made(header, { ...right, exp: nowS - 1 }),
      made(header, { ...right, nbf: nowS + 30 }),
      made(header, { username: 'root' }),
      made(header, { ...right, exp: 'never' }),
      made(header, { ...right, revision: -1 }),
      made(header, { ...right, username: 'nobody' }),
      made(header, { exp: right.exp }),
      `${made(header, right)}x`,
      `${made(header, right)}.x`,
      // A simple token of a user is not taken where users have others.
      SIMPLE_TOKENS.make(
        { isNode: false, name: 'root', madeAt: auth.part.state.revision, expiresMs: (nowS + 60) * 1_000 },
        auth.part.state.secret,
      ),
    ])
      expect(auth.callerOf(wrong).case).toBe('refused');
    expect(auth.callerOf(auth.nodeToken('n1')).case).toBe('node');
  });

  test('without a private key are taken and not made', async () => {
    const tokens = new JwtTokens(new JwtKeys({ algorithm: 'ES256', publicKey, privateKey: undefined }));
    const rig = await AuthRig.enabled({ tokens, tokenTtlMs: 600_000 });
    expect(await reasonOf(rig.login('root', ROOT_PASSWORD))).toBe('UNIMPLEMENTED');
    const exp = Math.floor(rig.node.clock.wallMs() / 1_000) + 60;
    const token = made({ alg: 'ES256' }, { username: 'root', exp });
    expect(rig.engine.auth.callerOf(token).case).toBe('user');
  });

  test('by every algorithm', () => {
    const content = Buffer.from('content');
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
    const named: Record<string, { publicKey: Buffer; privateKey: Buffer }> = {
      RS: files(rsa),
      PS: files(rsa),
    };
    const curves = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };
    for (const [name, namedCurve] of Object.entries(curves))
      named[name] = files(generateKeyPairSync('ec', { namedCurve }));
    named['EdDSA'] = files(generateKeyPairSync('ed25519'));
    const all = [
      'RS256',
      'RS384',
      'RS512',
      'PS256',
      'PS384',
      'PS512',
      'ES256',
      'ES384',
      'ES512',
      'EdDSA',
    ] as const;
    for (const algorithm of all) {
      const pairs = named[algorithm] ?? named[algorithm.slice(0, 2)]!;
      const one = new JwtKeys({ algorithm, ...pairs });
      const signature = one.sign(content);
      expect(one.verify(content, signature)).toBe(true);
      expect(one.verify(Buffer.from('other'), signature)).toBe(false);
      const verifying = new JwtKeys({ algorithm, publicKey: pairs.publicKey, privateKey: undefined });
      expect(verifying.verify(content, signature)).toBe(true);
      expect(verifying.canSign).toBe(false);
    }
    for (const algorithm of ['HS256', 'HS384', 'HS512'] as const) {
      const one = new JwtKeys({ algorithm, publicKey: undefined, privateKey: Buffer.alloc(64, 1) });
      expect(one.verify(content, one.sign(content))).toBe(true);
      expect(one.verify(Buffer.from('other'), one.sign(content))).toBe(false);
    }
  });

  test('need keys that fit', () => {
    const make =
      (algorithm: ConstructorParameters<typeof JwtKeys>[0]['algorithm'], open?: Buffer, secret?: Buffer) =>
      () =>
        new JwtKeys({ algorithm, publicKey: open, privateKey: secret });
    expect(make('HS256', undefined, Buffer.alloc(31))).toThrow('32 bytes or more');
    expect(make('RS256', publicKey)).toThrow('RSA');
    expect(make('ES384', publicKey)).toThrow('secp384r1');
    expect(make('EdDSA', publicKey)).toThrow('Ed25519');
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    expect(make('ES256', publicKey, pem(other.privateKey, 'pkcs8'))).toThrow('do not belong together');
    expect(make('ES256', Buffer.from('no pem'))).toThrow();
    expect(make('ES256')).toThrow('needs a public_key or a private_key');
  });
});
