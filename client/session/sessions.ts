import { clientClosed, type ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import type { Lease } from './lease.ts';
import type { Leases } from './leases.ts';

/** Sessions without use that are kept for one time to live. */
const MOST_IDLE = 16;
/** What close() gives the cluster to free what hangs on sessions. */
const CLOSING_MS = 1_000;

interface SessionOwner {
  /** Nobody uses it any more; true: it may stay for others. */
  onIdle(session: SharedSession): boolean;
  onRetired(session: SharedSession): void;
  /** It is retired and nobody uses it. */
  onOver(session: SharedSession): void;
}

/**
 * A session that several locks of this client hang on, none twice: a session may take again
 * what it holds, so two callers of one lock would not exclude each other.
 *
 * Once it is *retired* nobody new uses it, and it is revoked when the last use is over: so ends
 * whatever may still hang on it without anybody knowing, such as a request for a lock that
 * got lost on its way and arrives late.
 */
export class SharedSession {
  readonly lease: Lease;
  readonly #owner: SessionOwner;
  readonly #names = new Set<string>();
  #isRetired = false;

  constructor(lease: Lease, owner: SessionOwner) {
    this.lease = lease;
    this.#owner = owner;
    lease.signal.addEventListener('abort', () => this.retire(), { once: true });
  }

  get isIdle(): boolean {
    return this.#names.size === 0;
  }

  /** Uses it for a lock; false: it is used for this one, or takes nobody any more. */
  use(name: string): boolean {
    if (!this.lease.isAlive) this.retire();
    if (this.#isRetired || this.#names.has(name)) return false;
    this.#names.add(name);
    return true;
  }

  /** The use is over. */
  free(name: string): void {
    if (!this.#names.delete(name) || !this.isIdle) return;
    if (this.#isRetired || !this.#owner.onIdle(this)) this.retire();
    this.#revokeIfOver();
  }

  retire(): void {
    if (this.#isRetired) return;
    this.#isRetired = true;
    this.#owner.onRetired(this);
    this.#revokeIfOver();
  }

  #revokeIfOver(): void {
    if (!this.#isRetired || !this.isIdle) return;
    this.#owner.onOver(this);
  }
}

/** A session that is being granted, and the locks that it is awaited for. */
interface Grant {
  readonly names: Set<string>;
  readonly session: Promise<SharedSession>;
}

/** The shared sessions of a client, by time to live. */
export class Sessions {
  readonly #core: ClientCore;
  readonly #leases: Leases;
  readonly #grants = new Map<number, Set<Grant>>();
  readonly #current = new Map<number, Set<SharedSession>>();
  /** All that are not retired or still in use. */
  readonly #live = new Set<SharedSession>();

  constructor(core: ClientCore, leases: Leases) {
    this.#core = core;
    this.#leases = leases;
  }

  /** Uses a session for a lock: one that there is. */
  use(ttlMs: number, name: string): SharedSession | undefined {
    for (const session of this.#current.get(ttlMs) ?? []) if (session.use(name)) return session;
    return undefined;
  }

  /** Grants a session, for all who ask meanwhile for different locks. */
  async grant(ttlMs: number, name: string): Promise<void> {
    if (this.#core.closing.aborted) throw clientClosed();
    const grants = setOf(this.#grants, ttlMs);
    for (const grant of grants) {
      if (grant.names.has(name)) continue;
      grant.names.add(name);
      await grant.session;
      return;
    }
    const grant: Grant = { names: new Set([name]), session: this.#grant(ttlMs) };
    grants.add(grant);
    try {
      await grant.session;
    } finally {
      grants.delete(grant);
    }
  }

  /** @internal Frees what hangs on the sessions, as far as the cluster can be told in time. */
  close(): void {
    const live = [...this.#live];
    this.#live.clear();
    this.#current.clear();
    for (const { lease } of live)
      lease.revokeBy({ timeout: CLOSING_MS }, { isClosing: true }).catch(() => undefined);
  }

  #end(session: SharedSession): void {
    // What cannot be revoked ends by itself, for nobody keeps it alive.
    if (this.#live.delete(session)) session.lease.revoke().catch(() => undefined);
  }

  async #grant(ttlMs: number): Promise<SharedSession> {
    const lease = await this.#leases.grant({ ttl: ttlMs });
    const current = setOf(this.#current, ttlMs);
    const session = new SharedSession(lease, {
      onIdle: () => countIdle(current) <= MOST_IDLE,
      onRetired: (retired) => current.delete(retired),
      onOver: (over) => this.#end(over),
    });
    this.#live.add(session);
    current.add(session);
    if (!lease.isAlive) session.retire();
    return session;
  }
}

function setOf<T>(sets: Map<number, Set<T>>, ttlMs: number): Set<T> {
  let set = sets.get(ttlMs);
  if (set === undefined) sets.set(ttlMs, (set = new Set()));
  return set;
}

function countIdle(sessions: ReadonlySet<SharedSession>): number {
  let count = 0;
  for (const { isIdle } of sessions) count += Number(isIdle);
  return count;
}

/** What a holder is told when its session is over. */
export function lostWith(what: string, lease: Lease): HoldfastError {
  const cause = lease.signal.reason as HoldfastError | undefined;
  if (cause?.reason === 'CLIENT_CLOSED') return cause;
  const why = cause?.message ?? `lease ${lease.id} could not be kept alive in time`;
  return new HoldfastError({ reason: 'LOCK_LOST', message: `${what} is, or may be, lost: ${why}`, cause });
}
