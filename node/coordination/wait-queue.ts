/**
 * Who holds a lock and who waits for it; an election is a lock whose holders say something.
 * Plain bookkeeping of one name: it takes one step at a time and says what came of it.
 *
 *  1. An exclusive holder is the only one; a semaphore has at most as many holders as permits.
 *  2. First come, first served: nobody becomes a holder while somebody who came before waits.
 *  3. A session stands in the queue once: what it asks for again joins it there.
 *  4. A holder's token is the revision at which it became one: of its own, greater than all before.
 *  5. Only who names its session, token and request gives back what it holds.
 *  6. A request that is known already changes nothing but the list of its attempts.
 *
 * An attempt is one sending of a request. Who sent one and left takes back what it has caused,
 * unless the request was sent again meanwhile: then the other attempt has taken it over.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { LiveRow } from './machine-part.ts';

/** How a lock is held; the numbers are those of the wire and the log. */
export const HoldMode = { exclusive: 1, shared: 2, semaphore: 3 } as const;
export type HoldMode = (typeof HoldMode)[keyof typeof HoldMode];

/** Sessions that hold one lock, and that wait for it: its row is written as a whole. */
export const MAX_HOLDERS = 10_000;
export const MAX_WAITERS = 10_000;
/** Requests of one session for one lock. */
export const MAX_REQUESTS = 1_024;
/** Bytes of what all candidates of an election say. */
export const MAX_SAID_BYTES = 4 * 1024 * 1024;
/** Attempts of a request that are told apart; of more the first are taken for gone. */
const MAX_ATTEMPTS = 8;
const ROW_VERSION = 1;
const NOTHING: Uint8Array = new Uint8Array(0);

/** What a session asks for. */
export interface Ask {
  readonly session: bigint;
  /** Names the request among those of the session; binary. */
  readonly request: string;
  /** Names this sending of it. */
  readonly attempt: number;
  readonly mode: HoldMode;
  /** Of a semaphore; 0 otherwise. */
  readonly permits: number;
  /** False: it is refused rather than made wait. */
  readonly mayWait: boolean;
  /** What it says, as a candidate. */
  readonly said?: Uint8Array;
}

/** What came of it. */
export type Answer =
  | { readonly state: 'held'; readonly token: number; readonly holds: number }
  | { readonly state: 'waiting' }
  | { readonly refused: 'LOCK_HELD' | 'LOCK_MODE_MISMATCH' | 'LOCK_QUEUE_FULL'; readonly actual: string };

/** A session in the queue. */
export interface Place {
  readonly session: bigint;
  readonly mode: HoldMode;
  /** Of a holder; 0: it waits. */
  readonly token: number;
  /** What it has asked for, each with its attempts. */
  readonly requests: ReadonlyMap<string, readonly number[]>;
  readonly said: Uint8Array;
  /** Revision at which a holder said so. */
  readonly saidAt: number;
}

interface OwnPlace {
  readonly session: bigint;
  readonly mode: HoldMode;
  token: number;
  readonly requests: Map<string, number[]>;
  said: Uint8Array;
  saidAt: number;
}

export class WaitQueue implements LiveRow {
  /** By token. */
  readonly #holders: OwnPlace[] = [];
  /** In order. */
  readonly #waiters: OwnPlace[] = [];
  readonly #bySession = new Map<bigint, OwnPlace>();
  /** Of the semaphore that it is used as; 0: it is none, or free. */
  #permits = 0;
  #saidBytes = 0;
  /** As of `noteSize`. */
  #notedHolders = 0;
  #notedWaiters = 0;

  /** By token. */
  get holders(): readonly Place[] {
    return this.#holders;
  }

  /** In order. */
  get waiters(): readonly Place[] {
    return this.#waiters;
  }

  /** Of the semaphore that it is used as; 0: it is none, or free. */
  get permits(): number {
    return this.#permits;
  }

  /** Nobody holds it and nobody waits. */
  get isFree(): boolean {
    return this.#bySession.size === 0;
  }

  /** How many holders and waiters have come, or gone, since this was last asked. */
  noteSize(): { readonly holders: number; readonly waiters: number } {
    const holders = this.#holders.length - this.#notedHolders;
    const waiters = this.#waiters.length - this.#notedWaiters;
    this.#notedHolders += holders;
    this.#notedWaiters += waiters;
    return { holders, waiters };
  }

  /** Where a session stands. */
  place(session: bigint): Place | undefined {
    return this.#bySession.get(session);
  }

  /** Takes a place, or finds the one that there is. Invariants 2, 3, 6. */
  ask(ask: Ask, nextRevision: () => number): Answer {
    const mismatch = this.#mismatch(ask);
    if (mismatch !== undefined) return { refused: 'LOCK_MODE_MISMATCH', actual: mismatch };
    const place = this.#bySession.get(ask.session);
    return place === undefined ? this.#enter(ask, nextRevision) : this.#join(place, ask);
  }

  /** Gives back what one request holds; undefined: it holds nothing by this token. Returns how many are left. */
  release(session: bigint, token: number, request: string): number | undefined {
    const place = this.#bySession.get(session);
    if (place === undefined || token === 0 || place.token !== token) return undefined; // invariant 5
    return this.#drop(place, request);
  }

  /**
   * Takes a request out, waiting or served; with an `attempt`, only if no other one of the same
   * request has come. Undefined: there was nothing to take out. Returns how many are left.
   */
  giveUp(session: bigint, request: string, attempt?: number): number | undefined {
    const place = this.#bySession.get(session);
    const attempts = place?.requests.get(request);
    if (place === undefined || attempts === undefined) return undefined;
    if (attempt !== undefined) {
      const at = attempts.indexOf(attempt);
      if (at < 0) return undefined;
      attempts.splice(at, 1);
      if (attempts.length > 0) return undefined;
    }
    return this.#drop(place, request);
  }

  /** A session is over. Returns whether it stood here. */
  end(session: bigint): boolean {
    const place = this.#bySession.get(session);
    if (place === undefined) return false;
    this.#remove(place);
    return true;
  }

  /** A holder says something else; false: the session holds nothing by this token. */
  say(session: bigint, token: number, said: Uint8Array, revision: number): boolean {
    const place = this.#bySession.get(session);
    if (place === undefined || token === 0 || place.token !== token) return false;
    this.#setSaid(place, said);
    place.saidAt = revision;
    return true;
  }

  /** Whether all candidates together may say this much more, or less. */
  hasRoomFor(session: bigint, said: Uint8Array): boolean {
    const before = this.#bySession.get(session)?.said.byteLength ?? 0;
    return this.#saidBytes - before + said.byteLength <= MAX_SAID_BYTES;
  }

  /** Makes holders of those who waited and can be served now, in their order. Invariants 1, 2, 4. */
  serve(nextRevision: () => number): Place[] {
    let served = 0;
    for (const next of this.#waiters) {
      if (!this.#hasRoomForHolder(next.mode)) break;
      this.#hold(next, nextRevision());
      served++;
    }
    return served === 0 ? [] : this.#waiters.splice(0, served);
  }

  /** What does not go with what is asked for. */
  #mismatch({ session, mode, permits }: Ask): string | undefined {
    if (this.isFree) return undefined;
    const wanted = mode === HoldMode.semaphore ? permits : 0;
    if (wanted !== this.#permits)
      return this.#permits === 0 ? 'no semaphore' : `a semaphore with ${this.#permits} permits`;
    const place = this.#bySession.get(session);
    if (place === undefined || place.mode === mode) return undefined;
    return `${place.token === 0 ? 'awaited' : 'held'} ${place.mode === HoldMode.shared ? 'shared' : 'exclusively'}`;
  }

  #enter(ask: Ask, nextRevision: () => number): Answer {
    const { session, mode, request, attempt, said = NOTHING } = ask;
    const isServed = this.#waiters.length === 0 && this.#hasRoomForHolder(mode); // invariant 2
    if (!isServed && !ask.mayWait) return { refused: 'LOCK_HELD', actual: this.#heldBy() };
    const length = isServed ? this.#holders.length : this.#waiters.length;
    if (length >= (isServed ? MAX_HOLDERS : MAX_WAITERS))
      return { refused: 'LOCK_QUEUE_FULL', actual: String(length) };
    const place: OwnPlace = {
      session,
      mode,
      token: 0,
      requests: new Map([[request, [attempt]]]),
      said: NOTHING,
      saidAt: 0,
    };
    this.#setSaid(place, said);
    this.#bySession.set(session, place);
    if (mode === HoldMode.semaphore) this.#permits = ask.permits;
    if (isServed) return this.#hold(place, nextRevision());
    this.#waiters.push(place);
    return { state: 'waiting' };
  }

  /** Invariants 3, 6. */
  #join(place: OwnPlace, ask: Ask): Answer {
    const attempts = place.requests.get(ask.request);
    if (place.token === 0 && !ask.mayWait) {
      if (attempts !== undefined) this.#drop(place, ask.request);
      return { refused: 'LOCK_HELD', actual: this.#heldBy() };
    }
    if (attempts === undefined) {
      if (place.requests.size >= MAX_REQUESTS)
        return { refused: 'LOCK_QUEUE_FULL', actual: String(place.requests.size) };
      place.requests.set(ask.request, [ask.attempt]);
    } else if (!attempts.includes(ask.attempt)) {
      attempts.push(ask.attempt);
      if (attempts.length > MAX_ATTEMPTS) attempts.shift();
    }
    if (place.token !== 0) return { state: 'held', token: place.token, holds: place.requests.size };
    if (ask.said !== undefined) this.#setSaid(place, ask.said);
    return { state: 'waiting' };
  }

  /** Invariant 1. */
  #hasRoomForHolder(mode: HoldMode): boolean {
    if (this.#holders.length === 0) return true;
    if (mode === HoldMode.exclusive) return false;
    if (mode === HoldMode.semaphore) return this.#holders.length < this.#permits;
    return this.#holders[0]!.mode === HoldMode.shared && this.#holders.length < MAX_HOLDERS;
  }

  #hold(place: OwnPlace, revision: number): Answer {
    place.token = revision;
    place.saidAt = revision;
    this.#holders.push(place);
    return { state: 'held', token: revision, holds: place.requests.size };
  }

  #drop(place: OwnPlace, request: string): number | undefined {
    if (!place.requests.delete(request)) return undefined;
    if (place.requests.size === 0) this.#remove(place);
    return place.requests.size;
  }

  #remove(place: OwnPlace): void {
    this.#bySession.delete(place.session);
    this.#setSaid(place, NOTHING);
    const places = place.token === 0 ? this.#waiters : this.#holders;
    places.splice(places.indexOf(place), 1);
    if (this.isFree) this.#permits = 0;
  }

  #setSaid(place: OwnPlace, said: Uint8Array): void {
    this.#saidBytes += said.byteLength - place.said.byteLength;
    place.said = said;
  }

  #heldBy(): string {
    return `${this.#holders.length} hold it, ${this.#waiters.length} wait`;
  }

  encode(): Uint8Array {
    const writer = new ByteWriter(64 + 64 * this.#bySession.size + this.#saidBytes);
    writer.u8(ROW_VERSION).u32(this.#permits);
    for (const places of [this.#holders, this.#waiters]) {
      writer.u32(places.length);
      for (const place of places) writePlace(writer, place);
    }
    return writer.finish();
  }

  static decode(content: Uint8Array): WaitQueue {
    const reader = new ByteReader(content);
    const version = reader.u8();
    if (version !== ROW_VERSION) throw new RangeError(`a queue of version ${version}`);
    const queue = new WaitQueue();
    queue.#permits = reader.u32();
    for (const places of [queue.#holders, queue.#waiters]) {
      for (let left = reader.u32(); left > 0; left--) {
        const place = readPlace(reader);
        places.push(place);
        queue.#bySession.set(place.session, place);
        queue.#saidBytes += place.said.byteLength;
      }
    }
    queue.noteSize();
    return queue;
  }
}

function writePlace(writer: ByteWriter, place: OwnPlace): void {
  writer.i64(place.session).u8(place.mode).u64(place.token).u64(place.saidAt).bytes(place.said);
  writer.u32(place.requests.size);
  for (const [request, attempts] of place.requests) {
    writer.latin1(request).u8(attempts.length);
    for (const attempt of attempts) writer.u64(attempt);
  }
}

function readPlace(reader: ByteReader): OwnPlace {
  const session = reader.i64();
  const mode = reader.u8() as HoldMode;
  const token = reader.u64();
  const saidAt = reader.u64();
  const said = Uint8Array.from(reader.bytes());
  const requests = new Map<string, number[]>();
  for (let left = reader.u32(); left > 0; left--) {
    const request = reader.latin1();
    const attempts: number[] = [];
    for (let more = reader.u8(); more > 0; more--) attempts.push(reader.u64());
    requests.set(request, attempts);
  }
  return { session, mode, token, requests, said, saidAt };
}
