/**
 * What contenders for locks were told, and what must not be among it:
 *
 *  1. What a lock protects takes writes in the order of tokens: by the versions of its key,
 *     tokens never go back. So nobody wrote who no longer held the lock.
 *  2. A token belongs to one session, and later holders of a lock have greater ones.
 *  3. Of two holders who both believe to hold, one has heard otherwise, or let go, before the
 *     other was told that it holds; unless its process was stopped meanwhile.
 *  4. Of two that were seen to wait, whoever stood before is served first, if both are.
 */
import type { ContenderNews } from './lock-contender.ts';

interface Holding {
  readonly process: number;
  readonly session: string;
  readonly token: bigint;
  readonly atUs: number;
  endedUs: number | undefined;
}

interface Write {
  readonly token: bigint;
  readonly version: bigint;
}

/** A time during which a process was stopped. */
interface Stop {
  readonly process: number;
  readonly fromUs: number;
  toUs: number;
}

/** Two that waited, one before the other, while somebody held the lock. */
interface Before {
  readonly lock: string;
  readonly first: string;
  readonly second: string;
  /** Of the holder: whoever waited was served with a greater one. */
  readonly token: bigint;
  /** Before it was looked. */
  readonly atUs: number;
}

export class LockLedger {
  readonly violations: string[] = [];
  readonly refusals = new Map<string, number>();
  holdings = 0;
  writes = 0;
  fenced = 0;
  /** Writes of holders that had heard the signal, and were still let through or refused. */
  writesAfterSignal = 0;
  lost = 0;
  orders = 0;
  readonly #holdings = new Map<string, Holding[]>();
  readonly #writes = new Map<string, Write[]>();
  readonly #stops: Stop[] = [];
  readonly #givenUp: { lock: string; session: string; atUs: number }[] = [];
  readonly #before: Before[] = [];

  take(process: number, news: ContenderNews): void {
    switch (news.what) {
      case 'held':
        this.holdings++;
        listOf(this.#holdings, news.lock).push({
          process,
          session: news.session,
          token: BigInt(news.token),
          atUs: news.atUs,
          endedUs: undefined,
        });
        return;
      case 'ended': {
        if (news.how === 'lost') this.lost++;
        const holding = listOf(this.#holdings, news.lock).find(({ token }) => token === BigInt(news.token));
        if (holding !== undefined) holding.endedUs = news.atUs;
        return;
      }
      case 'wrote':
        this.writes++;
        if (news.afterSignal) this.writesAfterSignal++;
        listOf(this.#writes, news.lock).push({ token: BigInt(news.token), version: BigInt(news.version) });
        return;
      case 'fenced':
        this.fenced++;
        return;
      case 'refused':
        this.#givenUp.push(news);
        this.refusals.set(news.reason, (this.refusals.get(news.reason) ?? 0) + 1);
    }
  }

  stopped(process: number, fromUs: number): Stop {
    const stop = { process, fromUs, toUs: Infinity };
    this.#stops.push(stop);
    return stop;
  }

  /** A process was killed: it believes nothing any more. */
  died(process: number, atUs: number): void {
    for (const holdings of this.#holdings.values())
      for (const holding of holdings) if (holding.process === process) holding.endedUs ??= atUs;
  }

  /** Those who were seen to wait for a lock, in their order, while `token` held it; `atUs`: before it was looked. */
  sawWaiting(lock: string, sessions: readonly string[], token: bigint, atUs: number): void {
    for (let at = 1; at < sessions.length; at++)
      this.#before.push({ lock, first: sessions[at - 1]!, second: sessions[at]!, token, atUs });
  }

  /** Judges everything; returns what was wrong. */
  judge(): readonly string[] {
    for (const [lock, writes] of this.#writes) this.#judgeWrites(lock, writes);
    for (const [lock, holdings] of this.#holdings) this.#judgeHoldings(lock, holdings);
    this.#judgeOrder();
    return this.violations;
  }

  report(): string {
    const refusals = [...this.refusals].map(([reason, count]) => `${reason} ${count}`).join(', ');
    return (
      `${this.holdings} times held (${this.lost} lost), ${this.writes} writes taken, ${this.fenced} refused by token, ` +
      `${this.writesAfterSignal} taken after the signal and before another holder, ${this.orders} pairs in the queue compared; refused: ${refusals || 'none'}`
    );
  }

  #judgeWrites(lock: string, writes: Write[]): void {
    writes.sort((a, b) => (a.version < b.version ? -1 : 1));
    for (let at = 1; at < writes.length; at++) {
      const [before, after] = [writes[at - 1]!, writes[at]!];
      if (after.token < before.token)
        this.violations.push(
          `${lock}: token ${after.token} wrote version ${after.version} after token ${before.token} had written ${before.version}`,
        );
    }
  }

  #judgeHoldings(lock: string, holdings: Holding[]): void {
    holdings.sort((a, b) => (a.token < b.token ? -1 : 1));
    for (let at = 1; at < holdings.length; at++) {
      const [before, after] = [holdings[at - 1]!, holdings[at]!];
      if (before.token === after.token)
        this.violations.push(
          `${lock}: sessions ${before.session} and ${after.session} both have token ${after.token}`,
        );
      const believedUntil = before.endedUs ?? Infinity;
      if (believedUntil <= after.atUs || this.#wasStopped(before.process, before.atUs, after.atUs)) continue;
      this.violations.push(
        `${lock}: token ${after.token} was held ${((believedUntil - after.atUs) / 1_000).toFixed(1)} ms before token ${before.token} heard that it is lost`,
      );
    }
  }

  #wasStopped(process: number, fromUs: number, toUs: number): boolean {
    return this.#stops.some((stop) => stop.process === process && stop.fromUs < toUs && stop.toUs > fromUs);
  }

  #judgeOrder(): void {
    const byLock = new Map<string, Map<string, Holding[]>>();
    for (const [lock, holdings] of this.#holdings) {
      const bySession = new Map<string, Holding[]>();
      for (const holding of holdings) listOf(bySession, holding.session).push(holding);
      byLock.set(lock, bySession);
    }
    for (const { lock, first, second, token, atUs } of this.#before) {
      const next = (session: string) =>
        byLock
          .get(lock)
          ?.get(session)
          ?.find((holding) => holding.token > token);
      const [one, two] = [next(first), next(second)];
      if (one === undefined || two === undefined) continue;
      this.orders++;
      // Whoever stood before may have given up and come back: then it was not served by that place.
      if (two.token < one.token && !this.#gaveUp(first, lock, atUs, two))
        this.violations.push(`${lock}: ${second} was served before ${first}, which stood before it`);
    }
  }

  #gaveUp(session: string, lock: string, atUs: number, until: Holding): boolean {
    return this.#givenUp.some(
      (place) =>
        place.lock === lock && place.session === session && place.atUs >= atUs && place.atUs <= until.atUs,
    );
  }
}

function listOf<T>(lists: Map<string, T[]>, name: string): T[] {
  let list = lists.get(name);
  if (list === undefined) lists.set(name, (list = []));
  return list;
}
