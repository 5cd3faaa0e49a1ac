/** Users, roles and permissions on this node: who a caller is, logging in, and what changes them. */
import { sleep, type Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { Random } from '@holdfast/client/random';
import type { PasswordHash } from '../runtime/scrypt.ts';
import { ByteReader } from '../storage/byte-codec.ts';
import {
  AuthKind,
  MAX_AUTH_NAME_BYTES,
  TOKEN_SECRET_BYTES,
  writeAuthCommand,
  type AuthCommand,
} from './auth-command.ts';
import type { AuthPart } from './auth-part.ts';
import { encodeCommand } from './coordination-command.ts';
import type { CallTerms, Coordination } from './coordination.ts';
import { LoginThrottle } from './login-throttle.ts';
import { PasswordCheck } from './password-check.ts';
import { SIMPLE_TOKENS, type TokenClaims, type TokenFormat } from './tokens.ts';

export const DEFAULT_TOKEN_TTL_MS = 300_000;
/** Longest that a login is held back; what would have to wait longer is refused. */
const MOST_HELD_MS = 10_000;
/** Of what one node shows another: made anew for each call, or nearly. */
const NODE_TOKEN_MS = 60_000;
const NODE_TOKEN_AGAIN_MS = 20_000;
/** Tokens that were verified: a signature costs more than a call. */
const MAX_VERIFIED = 10_000;

/** How a node lets callers in; on all nodes of a cluster the same. */
export interface AuthSettings {
  readonly tokens: TokenFormat;
  readonly tokenTtlMs: number;
}

export const DEFAULT_AUTH: AuthSettings = { tokens: SIMPLE_TOKENS, tokenTtlMs: DEFAULT_TOKEN_TTL_MS };

/**
 * Who calls: `anyone`: nobody is asked; `nobody`: no token was shown; `refused`: one that is not
 * taken; `ahead`: one that was made by permissions that are not applied here yet.
 */
export type Caller =
  | { readonly case: 'anyone' | 'nobody' | 'refused' | 'ahead' | 'node' }
  | { readonly case: 'user'; readonly name: string };

const ANYONE: Caller = { case: 'anyone' };
const NOBODY: Caller = { case: 'nobody' };
const REFUSED: Caller = { case: 'refused' };
const AHEAD: Caller = { case: 'ahead' };
const NODE: Caller = { case: 'node' };

export interface AuthOptions extends AuthSettings {
  readonly coordination: Coordination;
  readonly clock: Clock;
  readonly random: Random;
  readonly hash: PasswordHash;
}

/** Attempts to log in on this node since its start. */
export interface LoginCounts {
  done: number;
  failed: number;
  delayed: number;
}

export class Auth {
  readonly logins: LoginCounts = { done: 0, failed: 0, delayed: 0 };
  readonly #options: AuthOptions;
  readonly #passwords: PasswordCheck;
  readonly #throttle = new LoginThrottle();
  /** Tokens whose signature was found right with `#verifiedBy`. */
  readonly #verified = new Map<string, TokenClaims>();
  #verifiedBy: Uint8Array | undefined;
  #nodeToken: { readonly text: string; readonly revision: number; readonly untilMs: number } | undefined;

  constructor(options: AuthOptions) {
    this.#options = options;
    this.#passwords = new PasswordCheck(options.hash, options.random);
  }

  /** For how long tokens are taken that are made here. */
  get tokenTtlMs(): number {
    return this.#options.tokenTtlMs;
  }

  /** As applied here, to be read at once. */
  get part(): AuthPart {
    return this.#options.coordination.machine.auth;
  }

  /** Who a caller is by the token it shows, as far as is known here; `atAnyTime`: also when its time is over. */
  callerOf(token: string | undefined, atAnyTime = false): Caller {
    const { isEnabled, revision } = this.part.state;
    if (token === undefined || token === '') return isEnabled ? NOBODY : ANYONE;
    const claims = this.#verifiedClaims(token);
    const madeAt = (claims ?? this.#claimed(token))?.madeAt ?? 0;
    if (madeAt > revision) return AHEAD;
    if (!isEnabled) return ANYONE;
    if (claims === undefined) return REFUSED;
    const nowMs = this.#options.clock.wallMs();
    const isInTime = nowMs < claims.expiresMs && nowMs >= (claims.notBeforeMs ?? 0);
    if (!isInTime && !atAnyTime) return REFUSED;
    if (claims.isNode) return madeAt >= this.part.state.tokensSince ? NODE : REFUSED;
    const isKnown = this.part.userOf(claims.name, claims.madeAt ?? revision) !== undefined;
    return isKnown ? { case: 'user', name: claims.name } : REFUSED;
  }

  /** What this node shows others, so that they do what it asks for; undefined: nobody is asked. */
  nodeToken(name: string): string | undefined {
    const { isEnabled, revision, secret } = this.part.state;
    if (!isEnabled) return undefined;
    const nowMs = this.#options.clock.wallMs();
    const known = this.#nodeToken;
    if (known !== undefined && known.revision === revision && nowMs < known.untilMs) return known.text;
    const claims = { isNode: true, name, madeAt: revision, expiresMs: nowMs + NODE_TOKEN_MS };
    const text = SIMPLE_TOKENS.make(claims, secret);
    this.#nodeToken = { text, revision, untilMs: nowMs + NODE_TOKEN_AGAIN_MS };
    return text;
  }

  /**
   * A token for who knows the password of the user `given`. `peer`: where the call comes from. Errors:
   * AUTH_NOT_ENABLED, LOGIN_FAILED, LOGIN_DELAYED, OVERLOADED.
   */
  async login(
    given: string,
    password: Uint8Array,
    peer: string,
    { deadlineMs, signal }: { readonly deadlineMs: number; readonly signal?: AbortSignal },
  ): Promise<string> {
    await this.awaitRead(deadlineMs);
    if (!this.part.state.isEnabled) throw notEnabled();
    // No user has a longer name, and what was tried is remembered.
    const name = given.slice(0, MAX_AUTH_NAME_BYTES + 1);
    await this.#awaitPlace(name, peer, deadlineMs, signal);
    const { clock, tokens, tokenTtlMs } = this.#options;
    const { state } = this.part;
    const { revision, secret } = state;
    const user = state.users.get(name);
    const record = user === undefined || user.password.byteLength === 0 ? undefined : user.password;
    let isRight = false;
    try {
      isRight = await this.#passwords.isRight(password, record, clock.monotonicMs());
    } finally {
      this.#throttle.judged(name, peer, clock.monotonicMs(), isRight);
    }
    if (!isRight) {
      this.logins.failed++;
      throw loginFailed();
    }
    if (!tokens.canMake) throw makesNone();
    this.logins.done++;
    // At the revision of the password that was checked: it may have been changed meanwhile.
    return tokens.make(
      { isNode: false, name, madeAt: revision, expiresMs: clock.wallMs() + tokenTtlMs },
      secret,
    );
  }

  /** Changes users, roles or permissions; resolves with their revision. Error: HoldfastError with outcome. */
  change(command: AuthCommand, terms: CallTerms): Promise<number> {
    const encoded = encodeCommand(command.kind, undefined, (writer) => writeAuthCommand(writer, command));
    const decode = (outcome: Uint8Array) => new ByteReader(outcome).u64();
    return this.#options.coordination.propose(encoded, { ...terms, grows: false, decode });
  }

  /** Has permissions asked for from now on. Error: AUTH_ROOT_MISSING. */
  async enable(terms: CallTerms): Promise<void> {
    const secret = this.#options.random.bytes(TOKEN_SECRET_BYTES);
    await this.change({ kind: AuthKind.enable, secret }, terms);
  }

  /** Sets the password of a user, new or known; undefined: nobody logs in as this user by password. */
  async setPassword(
    kind: typeof AuthKind.addUser | typeof AuthKind.changePassword,
    user: string,
    password: Uint8Array | undefined,
    terms: CallTerms,
  ): Promise<void> {
    const record = password === undefined ? new Uint8Array(0) : await this.#passwords.record(password);
    await this.change({ kind, user, password: record }, terms);
  }

  /** Resolves when every change that was acknowledged before is applied here. */
  awaitRead(deadlineMs: number): Promise<void> {
    return this.#options.coordination.awaitRead({ deadlineMs, isRouted: false });
  }

  async #awaitPlace(name: string, peer: string, deadlineMs: number, signal?: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const mostMs = Math.min(MOST_HELD_MS, deadlineMs - nowMs);
    const heldMs = this.#throttle.place(name, peer, nowMs, mostMs);
    if (heldMs === 0) return;
    this.logins.delayed++;
    if (heldMs === undefined) throw delayed(this.#throttle.waitMs(name, peer, nowMs));
    try {
      await sleep(clock, heldMs, signal);
    } catch (error) {
      this.#throttle.judged(name, peer, clock.monotonicMs(), false);
      throw error;
    }
  }

  #claimed(token: string): TokenClaims | undefined {
    return SIMPLE_TOKENS.claimed(token) ?? this.#options.tokens.claimed(token);
  }

  /** Nodes show simple tokens whatever users show. */
  #verifiedClaims(token: string): TokenClaims | undefined {
    const { secret } = this.part.state;
    if (this.#verifiedBy !== secret) {
      this.#verified.clear();
      this.#verifiedBy = secret;
    }
    const known = this.#verified.get(token);
    if (known !== undefined) return known;
    const { tokens } = this.#options;
    const own = SIMPLE_TOKENS.read(token, secret);
    const claims = own === undefined || (!own.isNode && tokens !== SIMPLE_TOKENS) ? undefined : own;
    const found = claims ?? (tokens === SIMPLE_TOKENS ? undefined : tokens.read(token, secret));
    if (found === undefined) return undefined;
    this.#verified.set(token, found);
    if (this.#verified.size > MAX_VERIFIED) this.#verified.delete(this.#verified.keys().next().value!);
    return found;
  }
}

function notEnabled(): HoldfastError {
  return new HoldfastError({
    reason: 'AUTH_NOT_ENABLED',
    message: 'permissions are not asked for, so there is nothing to log in to. Nothing was done.',
    outcome: 'NOT_APPLIED',
  });
}

/** The same for everybody who does not get in. */
function loginFailed(): HoldfastError {
  return new HoldfastError({
    reason: 'LOGIN_FAILED',
    message: 'no user of this name has this password. Nothing was done.',
    outcome: 'NOT_APPLIED',
  });
}

function makesNone(): HoldfastError {
  return new HoldfastError({
    reason: 'UNIMPLEMENTED',
    message:
      'this cluster takes tokens and makes none: auth.jwt in cluster.yaml has no private_key. Ask whoever makes them.',
    outcome: 'NOT_APPLIED',
  });
}

function delayed(waitMs: number): HoldfastError {
  const seconds = Math.ceil(waitMs / 1_000);
  return new HoldfastError({
    reason: 'LOGIN_DELAYED',
    message: `too many attempts to log in failed, for this user or from this address. Nothing was done; try again in ${seconds} s.`,
    outcome: 'NOT_APPLIED',
    retryAfterMs: Math.ceil(waitMs),
  });
}
