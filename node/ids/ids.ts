/**
 * The IDs that this node makes: in memory, from the worker number that it has leased. Nothing
 * is done while nobody asks.
 */
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { IdRun } from './id-generator.ts';
import { WorkerLease, unavailable, type WorkerLeaseOptions } from './worker-lease.ts';

/** Longest that a call waits for group 0: a caller with other nodes to ask does better there. */
const PATIENCE_MS = 2_000;
/** How often a call has the worker number renewed before it gives up. */
const RENEWALS = 3;
/** Between two looks for another worker number while the clock is behind. */
const EXCHANGE_EVERY_MS = 500;

export interface IdsOptions extends WorkerLeaseOptions {
  /** Why group 0 cannot be had, as far as this node knows; undefined: it can, or soon will. */
  readonly unledError: () => HoldfastError | undefined;
}

const UNLED: ReadonlySet<string> = new Set(['NO_LEADER', 'NOT_LEADER']);

/** IDs in order, and who made them. */
export interface MadeIds {
  readonly runs: readonly IdRun[];
  readonly worker: number;
}

export class Ids {
  readonly lease: WorkerLease;
  readonly #clock: Clock;
  readonly #unledError: IdsOptions['unledError'];
  /** No other worker number was to be had up to now; monotonic. */
  #exchangedMs = -Infinity;
  /** IDs given out since the start. */
  made = 0;
  /** Calls that were refused, by reason. */
  readonly refused = new Map<string, number>();

  constructor(options: IdsOptions) {
    this.lease = new WorkerLease(options);
    this.#clock = options.clock;
    this.#unledError = options.unledError;
  }

  /**
   * Makes IDs, in order, by one worker; resolves when the clock has come to the last of them.
   * `deadlineMs`: monotonic. Errors: ID_WORKER_UNAVAILABLE, CLOCK_BEHIND, OVERLOADED.
   */
  async next(count: number, deadlineMs: number): Promise<MadeIds> {
    try {
      return await this.#next(count, deadlineMs);
    } catch (error) {
      const { reason } = error as HoldfastError;
      this.refused.set(reason, (this.refused.get(reason) ?? 0) + 1);
      throw error;
    }
  }

  async #next(count: number, deadlineMs: number): Promise<MadeIds> {
    for (let renewals = 0; ; renewals++) {
      const taking = this.lease.take(count);
      if (taking.case === 'taken') {
        const { worker } = this.lease.generator!;
        this.made += count;
        this.lease.renewAhead();
        if (taking.waitMs > 0) await this.#wait(taking.waitMs);
        return { runs: taking.runs, worker };
      }
      if (taking.case === 'crowded') throw crowded();
      if (taking.case === 'behind' && !this.#mayExchange()) throw behind(taking.byMs);
      if (taking.case === 'early') {
        await this.#awaitTakeover(taking.waitMs, deadlineMs);
        continue;
      }
      if (taking.case === 'unusable') throw unavailable('its clock shows a time that IDs have no room for');
      if (renewals === RENEWALS) throw unavailable('its clock does not stand still');
      await this.#renewed(taking.case === 'behind' ? taking.byMs : undefined, deadlineMs);
    }
  }

  /** Another worker number is looked for now and then: each look is a read of group 0. */
  #mayExchange(): boolean {
    return this.#clock.monotonicMs() - this.#exchangedMs >= EXCHANGE_EVERY_MS;
  }

  /** Has the worker number renewed, in bounded time. `behindMs`: the clock is so far behind. */
  async #renewed(behindMs: number | undefined, deadlineMs: number): Promise<void> {
    const before = this.lease.generator;
    let error: unknown = this.#unledError();
    if (error === undefined) {
      const leftMs = deadlineMs - this.#clock.monotonicMs();
      try {
        await this.#within(Math.min(PATIENCE_MS, leftMs * 0.9), this.lease.renew(behindMs !== undefined));
      } catch (caught) {
        error = caught;
      }
    } else this.lease.renew(behindMs !== undefined).catch(() => undefined);
    if (behindMs === undefined) {
      if (error !== undefined) throw notRenewed(error, before !== undefined);
      return;
    }
    if (this.lease.generator !== before) return;
    this.#exchangedMs = this.#clock.monotonicMs();
    throw behind(behindMs);
  }

  /** Error: it takes longer than is worth waiting for. */
  async #awaitTakeover(waitMs: number, deadlineMs: number): Promise<void> {
    if (waitMs > PATIENCE_MS || this.#clock.monotonicMs() + waitMs > deadlineMs)
      throw unavailable('it takes over the worker number of a node that is gone, which takes 5 s');
    await this.#wait(waitMs);
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#clock.setTimer(ms, resolve));
  }

  #within(ms: number, work: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.setTimer(Math.max(0, ms), () => reject(new Error('no answer in time')));
      void work.then(resolve, reject).finally(() => timer.cancel());
    });
  }
}

function behind(byMs: number): HoldfastError {
  return new HoldfastError({
    reason: 'CLOCK_BEHIND',
    message: `the clock of this node is ${byMs} ms behind what it has given out: it was set back. Nothing was given out; another node may, and this one when its clock has come that far.`,
    outcome: 'NOT_APPLIED',
    actual: String(byMs),
    retryAfterMs: Math.min(byMs, 1_000),
  });
}

function crowded(): HoldfastError {
  return new HoldfastError({
    reason: 'OVERLOADED',
    message:
      'more IDs are asked of this node than the 4,096 that a millisecond has. Nothing was given out; try again later, or ask another node.',
    outcome: 'NOT_APPLIED',
    retryAfterMs: 100,
  });
}

function notRenewed(cause: unknown, hasNumber: boolean): HoldfastError {
  if (cause instanceof HoldfastError && cause.reason === 'ID_WORKER_UNAVAILABLE') return cause;
  const isUnled = cause instanceof HoldfastError && UNLED.has(cause.reason);
  const why = isUnled ? 'nobody leads group 0, as far as it knows' : (cause as Error).message;
  const what = hasNumber
    ? 'the time that its worker number has is used up, and the cluster has not given it more'
    : 'the cluster has not given it a worker number yet';
  return unavailable(`${what} (${why})`, cause);
}
