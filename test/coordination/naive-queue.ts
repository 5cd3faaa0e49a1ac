/** A queue that is plainly right: one list in the order of arrival, looked through from the start each time. */
import { HoldMode, type Ask } from '../../node/coordination/wait-queue.ts';

export interface NaivePlace {
  readonly session: bigint;
  readonly mode: HoldMode;
  readonly permits: number;
  token: number;
  readonly requests: Map<string, Set<number>>;
}

export class NaiveQueue {
  places: NaivePlace[] = [];

  ask(ask: Ask, nextRevision: () => number): string {
    const permits = ask.mode === HoldMode.semaphore ? ask.permits : 0;
    if (this.places.some((place) => place.permits !== permits)) return 'LOCK_MODE_MISMATCH';
    const own = this.places.find(({ session }) => session === ask.session);
    if (own !== undefined && own.mode !== ask.mode) return 'LOCK_MODE_MISMATCH';
    const place: NaivePlace = own ?? {
      session: ask.session,
      mode: ask.mode,
      permits,
      token: 0,
      requests: new Map(),
    };
    if (own === undefined) this.places.push(place);
    place.requests.set(ask.request, (place.requests.get(ask.request) ?? new Set()).add(ask.attempt));
    this.serve(nextRevision);
    if (place.token !== 0) return `held ${place.token} ${place.requests.size}`;
    if (ask.mayWait) return 'waiting';
    this.drop(place, ask.request);
    return 'LOCK_HELD';
  }

  release(session: bigint, token: number, request: string): number | undefined {
    const place = this.places.find((one) => one.session === session && one.token === token && token > 0);
    return place?.requests.has(request) ? this.drop(place, request) : undefined;
  }

  giveUp(session: bigint, request: string, attempt?: number): number | undefined {
    const place = this.places.find((one) => one.session === session);
    const attempts = place?.requests.get(request);
    if (place === undefined || attempts === undefined) return undefined;
    if (attempt !== undefined && !(attempts.delete(attempt) && attempts.size === 0)) return undefined;
    return this.drop(place, request);
  }

  end(session: bigint): void {
    this.places = this.places.filter((place) => place.session !== session);
  }

  drop(place: NaivePlace, request: string): number {
    place.requests.delete(request);
    if (place.requests.size === 0) this.end(place.session);
    return place.requests.size;
  }

  /** The first who waits is served, as long as there is one who can be. */
  serve(nextRevision: () => number): bigint[] {
    const served: bigint[] = [];
    for (;;) {
      const next = this.places.find(({ token }) => token === 0);
      const holders = this.places.filter(({ token }) => token !== 0);
      if (next === undefined) return served;
      if (next.mode === HoldMode.exclusive && holders.length > 0) return served;
      if (next.mode === HoldMode.shared && holders.some(({ mode }) => mode !== HoldMode.shared))
        return served;
      if (next.mode === HoldMode.semaphore && holders.length >= next.permits) return served;
      next.token = nextRevision();
      served.push(next.session);
    }
  }

  get holders(): NaivePlace[] {
    return this.places.filter(({ token }) => token !== 0).sort((a, b) => a.token - b.token);
  }

  get waiters(): NaivePlace[] {
    return this.places.filter(({ token }) => token === 0);
  }
}
