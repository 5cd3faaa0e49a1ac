import type { Clock } from '@holdfast/client';
import { HoldfastError } from '@holdfast/client/error';
import type { CallOptions } from '@holdfast/client/transport';
import type { FakeClock, FakeTransport } from './fake-ports.ts';

interface Place {
  readonly session: bigint;
  readonly request: string;
  token: bigint;
  readonly answer: ((place: Place) => void)[];
}

interface Request {
  lease: bigint;
  leases: bigint[];
  ttlMs?: bigint;
  sequence?: { clientId: Uint8Array; sequence: bigint };
  lock: string;
  election: string;
  session: bigint;
  requestId: Uint8Array;
  token: bigint;
  waitMs?: bigint;
}

/** Leases, exclusive locks and elections as the cluster keeps them, with a clock that is right. */
export class FakeSessions {
  readonly #clock: Clock;
  readonly #leases = new Map<bigint, { ttlMs: number; endsAtMs: number }>();
  readonly #queues = new Map<string, Place[]>();
  readonly #granted = new Map<string, bigint>();
  #lastLease = 0n;
  revision = 0n;
  /** When each lease ended. */
  readonly ended = new Map<bigint, number>();
  calls: string[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get liveLeases(): number {
    return this.#leases.size;
  }

  isLive(lease: bigint): boolean {
    return (this.#leases.get(lease)?.endsAtMs ?? 0) > this.#clock.monotonicMs();
  }

  /** Who holds a lock and who waits, the holder first. */
  queue(name: string): readonly Place[] {
    return this.#queues.get(name) ?? [];
  }

  /** Everybody in any queue. */
  get places(): number {
    let count = 0;
    for (const queue of this.#queues.values()) count += queue.length;
    return count;
  }

  /** Does what a call asks for, when it arrives. */
  handle(method: string, request: unknown): Promise<unknown> {
    const asked = request as Request;
    this.calls.push(method);
    for (const lease of this.#leases.keys()) if (!this.isLive(lease)) this.end(lease);
    try {
      if (method === 'Grant') return Promise.resolve(this.#grant(asked));
      if (method === 'KeepAlive')
        return Promise.resolve({ leases: asked.leases.map((id) => this.#keep(id)) });
      if (method === 'Revoke') return Promise.resolve(this.#revoke(asked.lease));
      if (method === 'Acquire')
        return this.#acquire(asked.lock, asked, Buffer.from(asked.requestId).toString('hex'));
      if (method === 'Release') return Promise.resolve(this.#release(asked));
      if (method === 'Campaign') return this.#acquire(`election ${asked.election}`, asked, 'campaign');
      if (method === 'Resign') return Promise.resolve(this.#resign(asked));
      if (method === 'Proclaim') return Promise.resolve({ revision: (this.revision += 1n) });
    } catch (error) {
      return Promise.reject(error);
    }
    return Promise.reject(new Error(method));
  }

  /** A lease ends, and everything that hangs on it. */
  end(lease: bigint): void {
    if (!this.#leases.delete(lease)) return;
    this.ended.set(lease, this.#clock.monotonicMs());
    for (const name of this.#queues.keys()) this.#remove(name, (place) => place.session === lease);
  }

  #grant({ ttlMs, sequence }: Request): unknown {
    const identity = `${Buffer.from(sequence!.clientId).toString('hex')} ${sequence!.sequence}`;
    const before = this.#granted.get(identity);
    if (before !== undefined) return { lease: before, ttlMs, revision: this.revision };
    this.#lastLease += 1n;
    const lease = this.#lastLease;
    this.#granted.set(identity, lease);
    const ms = Number(ttlMs);
    this.#leases.set(lease, { ttlMs: ms, endsAtMs: this.#clock.monotonicMs() + ms });
    this.#expireIn(lease, ms);
    return { lease, ttlMs, revision: this.revision };
  }

  #expireIn(lease: bigint, ms: number): void {
    this.#clock.setTimer(ms, () => {
      const row = this.#leases.get(lease);
      if (row === undefined) return;
      const leftMs = row.endsAtMs - this.#clock.monotonicMs();
      if (leftMs <= 0) this.end(lease);
      else this.#expireIn(lease, leftMs);
    });
  }

  #keep(lease: bigint): unknown {
    const row = this.#leases.get(lease);
    if (row === undefined) return { lease, ttlMs: 0n };
    row.endsAtMs = this.#clock.monotonicMs() + row.ttlMs;
    return { lease, ttlMs: BigInt(row.ttlMs) };
  }

  #revoke(lease: bigint): unknown {
    if (!this.#leases.has(lease)) throw refusal('LEASE_UNKNOWN');
    this.end(lease);
    return { revision: (this.revision += 1n) };
  }

  #acquire(name: string, { session, waitMs }: Request, request: string): Promise<unknown> {
    if (!this.#leases.has(session)) return Promise.reject(refusal('SESSION_EXPIRED'));
    let queue = this.#queues.get(name);
    if (queue === undefined) this.#queues.set(name, (queue = []));
    let place = queue.find((other) => other.session === session && other.request === request);
    if (place === undefined) {
      if (queue.length > 0 && waitMs === 0n) return Promise.reject(refusal('LOCK_HELD'));
      place = { session, request, token: 0n, answer: [] };
      queue.push(place);
      this.#serve(name);
    }
    const mine = place;
    return new Promise((resolve, reject) => {
      const answer = () => {
        if (mine.token > 0n) resolve({ token: mine.token, holds: 1 });
        else reject(this.#leases.has(session) ? gaveUp() : refusal('SESSION_EXPIRED'));
      };
      if (mine.token > 0n) answer();
      else mine.answer.push(answer);
      if (waitMs === undefined) return;
      this.#clock.setTimer(Number(waitMs), () => {
        if (mine.token > 0n) return;
        reject(refusal('LOCK_TIMED_OUT'));
        this.#remove(name, (other) => other === mine);
      });
    });
  }

  #release({ lock, session, requestId, token }: Request): unknown {
    const request = Buffer.from(requestId).toString('hex');
    const isIt = (place: Place) =>
      place.session === session && place.request === request && (token === 0n || place.token === token);
    if (!this.#remove(lock, isIt)) throw refusal('LOCK_NOT_HELD');
    return { holds: 0 };
  }

  #resign({ election, session, token }: Request): unknown {
    const isIt = (place: Place) => place.session === session && (token === 0n || place.token === token);
    if (!this.#remove(`election ${election}`, isIt)) throw refusal('NOT_ELECTED');
    return {};
  }

  #remove(name: string, isIt: (place: Place) => boolean): boolean {
    const queue = this.#queues.get(name) ?? [];
    const gone = queue.filter(isIt);
    const left = queue.filter((place) => !isIt(place));
    this.#queues.set(name, left);
    for (const place of gone) {
      const wasHeld = place.token > 0n;
      place.token = 0n;
      if (!wasHeld) for (const answer of place.answer) answer(place);
    }
    this.#serve(name);
    return gone.length > 0;
  }

  #serve(name: string): void {
    const first = this.#queues.get(name)?.[0];
    if (first === undefined || first.token > 0n) return;
    first.token = this.revision += 1n;
    for (const answer of first.answer) answer(first);
  }
}

function refusal(reason: string): HoldfastError {
  return new HoldfastError({ reason, message: 'no', outcome: 'NOT_APPLIED' });
}

function gaveUp(): HoldfastError {
  return new HoldfastError({ reason: 'CANCELLED', message: 'given up', outcome: 'NOT_APPLIED' });
}

/** What becomes of a call on its way. Times in ms. */
export interface Fate {
  /** Until it arrives; Infinity: it does not. */
  readonly there: number;
  /** Until the answer is back; Infinity: it is not, and nobody says so. */
  readonly back: number;
  /** The connection breaks so long after the call was made. */
  readonly breaks?: number | undefined;
}

/** Carries the calls of a client, each by the next fate; `usual` when there is none. */
export function carry(
  transport: FakeTransport,
  clock: FakeClock,
  node: FakeSessions,
  fates: Fate[],
  usual: Fate = { there: 1, back: 1 },
): void {
  transport.onUnary = (method, request, _endpoint, options) => {
    const fate = fates.shift() ?? usual;
    // As it is now: the client may change it for another attempt.
    return travel(clock, { ...(request as object) }, options, fate, (asked) => node.handle(method, asked));
  };
}

function travel(
  clock: FakeClock,
  request: unknown,
  { timeoutMs, signal }: CallOptions,
  fate: Fate,
  handle: (request: unknown) => Promise<unknown>,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timers = [
      clock.setTimer(timeoutMs, () => end(() => reject(failure('DEADLINE_EXCEEDED')))),
      clock.setTimer(fate.breaks ?? 1e9, () => end(() => reject(failure('UNAVAILABLE')))),
    ];
    const onAbort = () => end(() => reject(failure('CANCELLED')));
    const end = (how: () => void) => {
      for (const timer of timers) timer.cancel();
      signal?.removeEventListener('abort', onAbort);
      how();
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    const after = (ms: number, then: () => void) => {
      if (ms !== Infinity) clock.setTimer(ms, then);
    };
    after(fate.there, () => {
      handle(request).then(
        (value) => after(fate.back, () => end(() => resolve(value))),
        (error) => after(fate.back, () => end(() => reject(error as Error))),
      );
    });
  });
}

function failure(reason: string): HoldfastError {
  return new HoldfastError({ reason, message: 'lost' });
}
