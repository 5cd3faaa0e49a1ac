/**
 * Turns at a name, taken as etcd's client libraries take them, so that both kinds of callers
 * exclude each other: whoever takes part has a key `<name>/<lease in hexadecimal>` that ends with
 * its lease, and the oldest of them has its turn.
 *
 *  1. A turn comes in the order in which the keys came into being.
 *  2. It has come only if the own key was there, and none older, as of one confirmed read.
 *  3. Who waits follows the key before its own, and its own: one that leaves wakes one.
 *  4. The key of whoever gives up is taken away; if that cannot be had, the lease does. Whoever
 *     is only sent to another node keeps its place.
 */
import { create } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import { PutRequestSchema } from '@holdfast/proto/etcd/rpc';
import {
  ConfigComparator,
  ConfigSort,
  keySpan,
  type ConfigComparison,
  type ConfigOperation,
  type KeySpan,
} from '../../coordination/config-command.ts';
import type { TransactOutcome } from '../../coordination/config-outcome.ts';
import type { Configuration } from '../../coordination/configuration.ts';
import type { CallTerms, Coordination } from '../../coordination/coordination.ts';
import type { ConfigEntry } from '../../coordination/coordination-events.ts';
import type { Grant } from '../../coordination/grant.ts';
import { SessionCommandKind } from '../../coordination/session-command.ts';
import type { Sessions } from '../../coordination/sessions.ts';
import { binaryBytes, binaryString } from '../../storage/row-key.ts';
import type { CallContext } from '../handler.ts';
import { prefixSpan } from '../key-selection.ts';
import { propose } from '../lease-service.ts';
import { unexpected } from '../session-messages.ts';
import { leaseUnknown, unnamed } from './etcd-error.ts';
import { oneKey } from './etcd-keys.ts';
import { putOperation } from './etcd-transaction.ts';
import { KeyWatch, type WatchingNode } from './key-watch.ts';

/** What a lease has that nobody asked for. */
const SESSION_TTL_MS = 60_000;
/** Longest that what a call does after it has waited may take: an election among nodes fits in. */
const STEP_MS = 10_000;

export interface TurnsOptions extends WatchingNode {
  readonly configuration: Configuration;
  readonly coordination: Pick<Coordination, 'unledError' | 'machine'>;
  readonly sessions: Sessions;
}

/** A caller's key. */
export interface Place {
  readonly prefix: string;
  readonly key: string;
  /** At which the key came into being. */
  readonly revision: number;
}

export class EtcdTurns {
  readonly #options: TurnsOptions;

  constructor(options: TurnsOptions) {
    this.#options = options;
  }

  /** The lease to take part with; 0: a new one of a minute, which nobody keeps alive. */
  async session(lease: bigint, context: CallContext): Promise<bigint> {
    if (lease < 0n) throw leaseUnknown(lease);
    if (lease > 0n) return lease;
    const command = { kind: SessionCommandKind.grant, lease, ttlMs: SESSION_TTL_MS, name: '' };
    const outcome = await propose(this.#options.sessions, command, context, true);
    if (outcome.case !== 'lease') throw unexpected(outcome);
    return outcome.lease;
  }

  /** Has the caller wait at a name; whoever does already keeps its place, and says something else. */
  async enter(name: Uint8Array, lease: bigint, value: Uint8Array, context: CallContext): Promise<Place> {
    const prefix = turnsPrefix(name);
    const key = oneKey(binaryBytes(`${prefix}${lease.toString(16)}`));
    for (;;) {
      const outcome = await this.#transact(isCreated(key, 0), put(key, value, lease), shown(key), context);
      if (outcome.succeeded) return { prefix, key, revision: outcome.revision };
      const [found] = outcome.results;
      const kept = found?.case === 'list' ? found.entries[0] : undefined;
      if (kept === undefined) continue; // gone between two looks
      const place = { prefix, key, revision: kept.createRevision };
      if (Buffer.from(kept.value).equals(value) || (await this.say(place, value, lease, context)))
        return place;
    }
  }

  /** Resolves with the revision as of which the turn has come. Error: the own key is gone. */
  async awaitTurn(place: Place, context: CallContext): Promise<number> {
    try {
      const revision = await this.#awaitTurn(place, context);
      context.signal.throwIfAborted();
      context.access.confirm(); // who may wait no more does not get it
      return revision;
    } catch (error) {
      if (!context.signal.aborted && isUnavailable(error)) throw error;
      // The node takes away what it has put: the caller may not be let in any more. Invariant 4.
      const terms = { ...this.#inTime(context), grant: this.#ownGrant };
      void this.leave(place, terms).catch(() => undefined);
      throw error;
    }
  }

  /** Changes what a place says; undefined: it is gone. */
  async say(
    { key, revision }: Pick<Place, 'key' | 'revision'>,
    value: Uint8Array,
    lease: bigint,
    context: CallContext,
  ): Promise<number | undefined> {
    const outcome = await this.#transact(isCreated(key, revision), put(key, value, lease), [], context);
    return outcome.succeeded ? outcome.revision : undefined;
  }

  /** Gives a place up; one that is gone already is not missed. */
  async leave({ key, revision }: Pick<Place, 'key' | 'revision'>, terms: CallTerms): Promise<number> {
    const remove: ConfigOperation = {
      case: 'delete',
      span: keySpan(key),
      ifModRevision: undefined,
      returnPrevious: false,
    };
    return (await this.#transact(isCreated(key, revision), [remove], [], terms)).revision;
  }

  /** Whoever has its turn; undefined: nobody. */
  async first(
    prefix: string,
    context: CallContext,
  ): Promise<{ readonly entry: ConfigEntry | undefined; readonly revision: number }> {
    const { configuration } = this.#options;
    await configuration.awaitRead(this.#inTime(context));
    for (;;) {
      const { entries, revision } = await this.#below(prefix, context.signal);
      const oldest = oldestOf(entries);
      if (oldest === undefined) return { entry: undefined, revision };
      if (revision < configuration.figures.compactRevision) continue; // forgotten meanwhile
      return { entry: configuration.reads.get(binaryString(oldest.key), revision).entry, revision };
    }
  }

  /** Follows keys from a revision on. */
  watch(span: KeySpan, from: number, signal: AbortSignal): KeyWatch {
    return new KeyWatch(this.#options, signal).add({ span, withoutPuts: false, withoutDeletes: false }, from);
  }

  /** Invariants 1 to 3. */
  async #awaitTurn({ prefix, key, revision: since }: Place, context: CallContext): Promise<number> {
    for (;;) {
      await this.#options.configuration.awaitRead(this.#inTime(context));
      const { entries, revision } = await this.#below(prefix, context.signal);
      const isThere = entries.some((one) => one.createRevision === since && binaryString(one.key) === key);
      if (!isThere) throw unnamed('SESSION_EXPIRED', 'session is expired: its key is gone');
      const before = lastBefore(entries, since);
      if (before === undefined) return revision;
      const watch = new KeyWatch(this.#options, context.signal);
      try {
        for (const one of [binaryString(before.key), key])
          watch.add({ span: keySpan(one), withoutPuts: true, withoutDeletes: false }, revision + 1);
        await watch.next();
      } finally {
        watch.close();
      }
    }
  }

  /** All keys below a prefix as of one revision, without what they say. */
  async #below(
    prefix: string,
    signal: AbortSignal,
  ): Promise<{ readonly entries: readonly ConfigEntry[]; readonly revision: number }> {
    const { reads } = this.#options.configuration;
    const order = { limit: 0, keysOnly: true, countOnly: false, sortBy: ConfigSort.key, isDescending: false };
    const span = prefixSpan(prefix);
    const first = await reads.list({ ...order, span }, 0, signal);
    const entries = [...first.entries];
    for (let { more } = first; more;) {
      const rest = { start: `${binaryString(entries.at(-1)!.key)}\0`, end: span.end };
      const part = await reads.list({ ...order, span: rest }, first.revision, signal);
      entries.push(...part.entries);
      ({ more } = part);
    }
    return { entries, revision: first.revision };
  }

  async #transact(
    comparison: ConfigComparison,
    thenOperations: readonly ConfigOperation[],
    elseOperations: readonly ConfigOperation[],
    { deadlineMs, isRouted, grant }: CallTerms,
  ): Promise<TransactOutcome> {
    const grows = thenOperations.some((operation) => operation.case === 'put');
    const transaction = { comparisons: [comparison], thenOperations, elseOperations };
    const terms = { deadlineMs, isRouted, grant, grows, identity: undefined };
    return this.#options.configuration.transact(transaction, terms);
  }

  /** By which the node does something itself: by the newest permissions, whatever they are. */
  get #ownGrant(): Grant {
    const { coordination } = this.#options;
    return {
      get revision() {
        return coordination.machine.auth.state.revision;
      },
      renew: () => undefined,
    };
  }

  /** A call that has waited has time for one step more. */
  #inTime(context: CallContext): CallContext {
    const deadlineMs = this.#options.clock.monotonicMs() + STEP_MS;
    return { ...context, isRouted: false, deadlineMs };
  }
}

/** Another node may know more. */
function isUnavailable(error: unknown): boolean {
  return error instanceof HoldfastError && error.code === 'UNAVAILABLE';
}

/** What the keys at a name begin with. */
export function turnsPrefix(name: Uint8Array): string {
  return `${binaryString(name)}/`;
}

function isCreated(key: string, revision: number): ConfigComparison {
  const target = { case: 'createRevision' as const, value: revision };
  return { span: keySpan(key), isKey: true, comparator: ConfigComparator.equal, target };
}

function put(key: string, value: Uint8Array, lease: bigint): ConfigOperation[] {
  return [
    putOperation(create(PutRequestSchema, { key: binaryBytes(key), value: Uint8Array.from(value), lease })),
  ];
}

function shown(key: string): ConfigOperation[] {
  const span = keySpan(key);
  const sortBy = ConfigSort.key;
  return [{ case: 'list', span, limit: 1, keysOnly: false, countOnly: false, sortBy, isDescending: false }];
}

function oldestOf(entries: readonly ConfigEntry[]): ConfigEntry | undefined {
  return entries.reduce<ConfigEntry | undefined>(
    (oldest, one) => (oldest === undefined || one.createRevision < oldest.createRevision ? one : oldest),
    undefined,
  );
}

/** The newest of those that are older. */
function lastBefore(entries: readonly ConfigEntry[], revision: number): ConfigEntry | undefined {
  return entries.reduce<ConfigEntry | undefined>((last, one) => {
    if (one.createRevision >= revision) return last;
    return last === undefined || one.createRevision > last.createRevision ? one : last;
  }, undefined);
}
