/**
 * The one authoriser: who calls, what the call needs, and whether its caller may. What a method
 * needs stands in access-rules.ts, and is asked by guarded-service.ts before the handler runs.
 *
 *  1. A caller is looked up anew whenever the permissions have changed since the last look.
 *  2. What was read is given away only if its reader may read it by the permissions that were
 *     applied here when it was read (`confirm`).
 *  3. Of a change, the state machine asks by which permissions it was let in (invariant 4 of
 *     auth-part.ts), and `renew` is what follows when those are old.
 */
import { HoldfastError } from '@holdfast/client/error';
import type { Auth, Caller } from '../coordination/auth.ts';
import type { KeyUse } from '../coordination/auth-permission.ts';
import type { KeySpan } from '../coordination/config-command.ts';
import { NO_PERMISSIONS, type Grant } from '../coordination/grant.ts';

const NOTHING = 'Nothing was done.';

/** Keys that a call uses: those of the configuration, or names of other things as keys (access-names.ts). */
export interface KeyNeed {
  readonly use: KeyUse;
  readonly span: KeySpan;
}

/** Everything that hangs on a lease. Looked up only for whom it is asked of, and once a call: it may be much. */
export interface LeaseNeed {
  readonly use: KeyUse;
  readonly lease: bigint;
  readonly spans: () => readonly KeySpan[];
}

/** Somebody's own: the user itself, who has the role, or root. Names are binary. */
export type OwnNeed = { readonly user: string } | { readonly role: string };

/**
 * What a call needs. `nothing`: anybody may; `login`: any user may; `root`: who has the role
 * root; `node`: another node of the cluster. Keys: all of them, and a user.
 */
export type Needs = 'nothing' | 'login' | 'root' | 'node' | OwnNeed | readonly (KeyNeed | LeaseNeed)[];

/** What is asked of the permissions; Auth as a caller's access sees it. */
export type Gate = Pick<Auth, 'part' | 'callerOf' | 'awaitRead'>;

export class Access implements Grant {
  readonly #gate: Gate | undefined;
  readonly #token: string | undefined;
  #caller: Caller;
  #revision: number;
  #needs: () => Needs = () => 'nothing';
  #hasAskedLeases = false;
  /** Whether all that hangs on a lease may be used, of calls that come together. */
  #leases: Map<string, boolean> | undefined;

  /** `gate` undefined: nobody is asked. */
  constructor(gate: Gate | undefined, token: string | undefined) {
    this.#gate = gate;
    this.#token = token;
    this.#revision = this.#now;
    this.#caller = gate?.callerOf(token) ?? { case: 'anyone' };
  }

  get revision(): number {
    return this.#revision;
  }

  /** Who calls, for logs: the name of a user, or what else it is in angle brackets. */
  get name(): string {
    const { user } = this;
    return user === undefined ? `<${this.#caller.case}>` : Buffer.from(user, 'latin1').toString('utf8');
  }

  /** The name of the user, binary; undefined: no user. */
  get user(): string | undefined {
    return this.#caller.case === 'user' ? this.#caller.name : undefined;
  }

  /** Whether the token was made by permissions that are not applied here yet: `settle` first. */
  get isAhead(): boolean {
    return this.#caller.case === 'ahead';
  }

  /** Waits until the permissions that the token was made by are applied here. */
  async settle(deadlineMs: number): Promise<void> {
    await this.#gate!.awaitRead(deadlineMs);
    this.#leases = undefined;
    this.#look();
  }

  /**
   * Whether it was looked what hangs on a lease. This node may not have applied what others were
   * told of, and an empty lease is anybody's: `settle` and `require` again, or `renew` after a read.
   */
  get hasAskedLeases(): boolean {
    return this.#hasAskedLeases;
  }

  /** Checks what the call needs, now and whenever it is looked at again. Errors: UNAUTHENTICATED, TOKEN_INVALID, PERMISSION_DENIED. */
  require(needs: () => Needs): void {
    this.#needs = needs;
    this.#check();
  }

  /** Invariant 3. */
  renew(): void {
    this.#leases = undefined;
    this.#look();
    this.#check();
  }

  /** Invariant 2. */
  confirm(): void {
    if (this.#now !== this.#revision) this.renew();
  }

  /** The same caller's for one of several things that come together, which is let in by itself. Errors: as `require`. */
  of(needs: () => Needs): Access {
    const access = new Access(this.#gate, this.#token);
    access.#leases = this.#leases;
    access.require(needs);
    return access;
  }

  /** The same caller's for things that come together and are let in, with `of`, before anything else happens. */
  together(): Access {
    const access = new Access(this.#gate, this.#token);
    access.#leases = new Map();
    return access;
  }

  /** Checks that the caller is still one, of a stream that goes on for long. Errors: UNAUTHENTICATED, TOKEN_INVALID. */
  requireLogin(): void {
    this.#look(); // invariant 1, and its time may be over
    if (this.#caller.case !== 'anyone') this.#checkNeeds('login');
  }

  /** Checks one thing more, of a stream. Errors: as `require`. */
  requireKeys(use: KeyUse, span: () => KeySpan): void {
    this.#look(); // invariant 1, and its time may be over
    if (this.#caller.case !== 'anyone') this.#checkNeeds([{ use, span: span() }]);
  }

  /** Checks what was begun on a stream when permissions have changed: it goes on after the token's time. Errors: as `require`. */
  keepKeys(use: KeyUse, span: () => KeySpan): void {
    if (this.#gate !== undefined) {
      this.#revision = this.#now;
      this.#caller = this.#gate.callerOf(this.#token, true);
    }
    if (this.#caller.case !== 'anyone') this.#checkNeeds([{ use, span: span() }]);
  }

  #check(): void {
    if (this.#caller.case !== 'anyone') this.#checkNeeds(this.#needs());
  }

  #checkNeeds(needs: Needs): void {
    if (needs === 'nothing') return;
    switch (this.#caller.case) {
      case 'node':
        return;
      case 'nobody':
        throw needs === 'node' ? notKnown() : loginMissing();
      case 'user':
        if (!this.#mayUser(this.#caller.name, needs)) throw denied(needs);
        return;
      default:
        throw needs === 'node' ? notKnown() : tokenInvalid();
    }
  }

  #mayUser(name: string, needs: Needs): boolean {
    const { part } = this.#gate!;
    if (needs === 'login') return true;
    if (needs === 'nothing' || needs === 'node') return needs === 'nothing';
    if (needs === 'root') return part.isRoot(name);
    if (isOwn(needs) && 'user' in needs) return needs.user === name || part.isRoot(name);
    if (isOwn(needs)) return part.hasRole(name, needs.role) || part.isRoot(name);
    const leases = this.#leases ?? new Map<string, boolean>();
    return needs.every((need) => {
      const { use } = need;
      if ('span' in need) return part.allows(name, use, need.span);
      const asked = `${use} ${need.lease}`;
      let isAllowed = leases.get(asked);
      this.#hasAskedLeases = true;
      if (isAllowed === undefined) {
        isAllowed = part.isRoot(name) || need.spans().every((span) => part.allows(name, use, span));
        leases.set(asked, isAllowed);
      }
      return isAllowed;
    });
  }

  #look(): void {
    if (this.#gate === undefined) return;
    this.#revision = this.#now;
    this.#caller = this.#gate.callerOf(this.#token);
  }

  get #now(): number {
    return this.#gate?.part.state.revision ?? NO_PERMISSIONS;
  }
}

function isOwn(needs: OwnNeed | readonly (KeyNeed | LeaseNeed)[]): needs is OwnNeed {
  return !Array.isArray(needs);
}

/** Of whom nothing is asked: there are no permissions, or a test needs none. */
export function openAccess(): Access {
  return new Access(undefined, undefined);
}

/** The token of a caller: of the header `token`, as etcd's clients have it, or of `authorization`, with or without the scheme. */
export function tokenOf(token: string | undefined, authorization: string | undefined): string | undefined {
  return token ?? authorization?.replace(/^bearer +/i, '');
}

function loginMissing(): HoldfastError {
  return new HoldfastError({
    reason: 'UNAUTHENTICATED',
    message: `permissions are asked for, and the call shows no token. ${NOTHING} Log in first.`,
    outcome: 'NOT_APPLIED',
  });
}

function tokenInvalid(): HoldfastError {
  return new HoldfastError({
    reason: 'TOKEN_INVALID',
    message: `the token has expired, or is none that this cluster takes. ${NOTHING} Log in again.`,
    outcome: 'NOT_APPLIED',
  });
}

/** Does not say which keys: they may say something to whoever may not see them. */
function denied(needs: Needs): HoldfastError {
  const what =
    needs === 'root' || (typeof needs === 'object' && isOwn(needs))
      ? 'this takes the role root'
      : needs === 'node'
        ? 'only nodes of the cluster may do this'
        : 'no role of the user allows this with all of the keys';
  return new HoldfastError({
    reason: 'PERMISSION_DENIED',
    message: `${what}. ${NOTHING}`,
    outcome: 'NOT_APPLIED',
  });
}

/** A node that lags behind may not have what it has to show; it repeats what was certainly not done. */
function notKnown(): HoldfastError {
  return new HoldfastError({
    reason: 'STARTING',
    message: `only nodes of the cluster may do this, and the call does not show that it comes from one. ${NOTHING}`,
    outcome: 'NOT_APPLIED',
    retryAfterMs: 100,
  });
}
