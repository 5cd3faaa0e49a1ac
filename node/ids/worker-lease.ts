/**
 * The worker number of this process: a key of the cluster's own for each number, changed by
 * compare-and-set, with a high-water that is moved ahead of use.
 *
 *  1. Each change gives one process the time from the stored high-water to a later one; so no
 *     moment of a number is ever two processes', whatever clocks, restarts and takeovers do.
 *  2. What came of a change that was not answered is read before another one is tried.
 *  3. A number that is let go keeps its high-water, and makes no IDs from when that is tried.
 *  4. A process makes IDs for VALID_MS after it sent the last change that was answered, whatever
 *     its wall clock says; who takes over the number of a member that is gone makes none for
 *     longer than that after its own change. So also what a process makes that does not know
 *     that it is gone comes before what its successor makes.
 */
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import { ID_EPOCH_MS, ID_MS_END, WORKERS } from '@holdfast/client/ids/id-layout';
import type { Random } from '@holdfast/client/random';
import { IdGenerator, type Taking } from './id-generator.ts';
import { chooseWorker, type WorkerChoice } from './worker-choice.ts';
import {
  WORKERS_PREFIX,
  decodeWorker,
  encodeWorker,
  workerKey,
  workerOf,
  type StoredWorker,
  type WorkerOwner,
  type WorkerRecord,
} from './worker-record.ts';

/** The high-water is moved so far ahead of the clock … */
export const LEASED_MS = 3_000;
/** … when less than this is left of it. */
const RENEW_BELOW_MS = 2_000;
/** Invariant 4: longer than the high-water is ahead, and with room for clocks that run at different rates. */
const VALID_MS = 4_000;
const TAKEOVER_MS = 5_000;
/** Bound on waiting for group 0 in one attempt. */
const ATTEMPT_MS = 10_000;
/** Attempts that somebody else's change came before, in a row. */
const ATTEMPTS = 10;

/** Keys of the cluster's own, as far as worker numbers have to do with them. */
export interface WorkerTree {
  list(
    prefix: string,
  ): Promise<readonly { readonly key: string; readonly value: Uint8Array; readonly modRevision: number }[]>;
  /** Compares and changes, wherever group 0 is led. Error: HoldfastError. */
  transact(
    transaction: {
      readonly comparisons: readonly { readonly key: string; readonly modRevision: number }[];
      readonly changes: readonly { readonly key: string; readonly value: Uint8Array | undefined }[];
    },
    anywhere: boolean,
  ): Promise<{ readonly succeeded: boolean; readonly revision: number }>;
  /** Resolves when everything that was acknowledged before is applied here. Error: HoldfastError. */
  awaitRead(terms: { readonly deadlineMs: number; readonly isRouted: boolean }): Promise<void>;
}

export interface WorkerLeaseOptions {
  readonly tree: WorkerTree;
  readonly clock: Clock;
  readonly random: Random;
  /** Number of this node as a member. */
  readonly member: number;
  readonly incarnation: number;
  /** Whether a member is gone for good. */
  readonly isGone: (member: number) => boolean;
}

interface Held {
  readonly generator: IdGenerator;
  readonly floorMs: number;
  readonly modRevision: number;
  readonly isTakenOver: boolean;
  /** It makes IDs from one monotonic time to another. */
  readonly usableMs: number;
  readonly validMs: number;
}

/** `early`: the number was taken over, and is usable in `waitMs`. */
export type LeasedTaking = Taking | { readonly case: 'early'; readonly waitMs: number };

export class WorkerLease {
  readonly #options: WorkerLeaseOptions;
  #owner: WorkerOwner | undefined;
  #held: Held | undefined;
  /** The last change was not answered, or somebody else came before it: read what is there. */
  #isDoubtful = true;
  /** The number that there is was to be let go, and may have been. */
  #isLeaving = false;
  #renewing: Promise<void> | undefined;
  /** Changes that were made, for metrics. */
  renewals = 0;

  constructor(options: WorkerLeaseOptions) {
    this.#options = options;
  }

  /** Makes IDs; undefined: there is no number yet. */
  get generator(): IdGenerator | undefined {
    return this.#held?.generator;
  }

  /** Takes IDs, 1 or more. */
  take(count: number): LeasedTaking {
    const held = this.#held;
    const nowMs = this.#options.clock.monotonicMs();
    if (held === undefined || this.#isLeaving) return { case: 'spent' };
    if (nowMs < held.usableMs) return { case: 'early', waitMs: held.usableMs - nowMs };
    if (nowMs > held.validMs) return { case: 'spent' };
    return held.generator.take(count, this.clockMs);
  }

  /** The clock in milliseconds of IDs. */
  get clockMs(): number {
    return Math.floor(this.#options.clock.wallMs()) - ID_EPOCH_MS;
  }

  /** Moves the high-water while there is time to do so. */
  renewAhead(): void {
    const { generator } = this;
    if (generator === undefined || generator.highWaterMs - this.clockMs >= RENEW_BELOW_MS) return;
    this.renew().catch(() => undefined); // who needs it waits for it, and is told
  }

  /**
   * Takes a number, or moves the high-water of the one there is; with `isBehind` takes another
   * one if its time has come. One at a time. Errors: ID_WORKER_UNAVAILABLE, those of group 0.
   */
  renew(isBehind = false): Promise<void> {
    this.#renewing ??= this.#renew(isBehind).finally(() => (this.#renewing = undefined));
    return this.#renewing;
  }

  async #renew(isBehind: boolean): Promise<void> {
    this.#checkClock();
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const choice = this.#current(isBehind) ?? (await this.#choose(isBehind));
      if (await this.#take(choice)) return;
    }
    throw unavailable('others took worker numbers at the same time');
  }

  /** The number that there is, if nothing speaks against moving its high-water right away. */
  #current(isBehind: boolean): WorkerChoice | undefined {
    const held = this.#held;
    if (held === undefined || this.#isDoubtful || isBehind) return undefined;
    const { generator, floorMs, modRevision, isTakenOver } = held;
    const { worker, highWaterMs } = generator;
    return { worker, floorMs, highWaterMs, modRevision, isTakenOver, released: [] };
  }

  /** Invariant 2. */
  async #choose(isBehind: boolean): Promise<WorkerChoice> {
    const { tree, clock, isGone } = this.#options;
    await tree.awaitRead({ deadlineMs: clock.monotonicMs() + ATTEMPT_MS, isRouted: false });
    const nodes = await tree.list(WORKERS_PREFIX);
    const stored = nodes.map(({ key, value, modRevision }): StoredWorker => {
      return { worker: workerOf(key), record: decodeWorker(value), modRevision };
    });
    const choice = chooseWorker({ stored, own: this.#own, isGone, clockMs: this.clockMs, isBehind });
    if (choice === undefined) throw unavailable(`all ${WORKERS} worker numbers are taken`);
    return choice;
  }

  /** False: somebody else has changed it. */
  async #take(choice: WorkerChoice): Promise<boolean> {
    const { worker, floorMs, highWaterMs, isTakenOver } = choice;
    const aheadMs = Math.max(highWaterMs, floorMs, Math.min(this.clockMs + LEASED_MS, ID_MS_END));
    const record: WorkerRecord = { ...this.#own, isTakenOver, floorMs, highWaterMs: aheadMs };
    this.#isDoubtful = true;
    this.#isLeaving = this.#held !== undefined && this.#held.generator.worker !== worker; // invariant 3
    const sentMs = this.#options.clock.monotonicMs();
    const { succeeded, revision } = await this.#options.tree.transact(change(choice, record), true);
    if (!succeeded) return false;
    this.#isDoubtful = this.#isLeaving = false;
    this.renewals++;
    this.#hold(choice, record, revision, sentMs);
    return true;
  }

  /** Invariant 4. */
  #hold(choice: WorkerChoice, record: WorkerRecord, modRevision: number, sentMs: number): void {
    const { worker, isTakenOver } = choice;
    const { floorMs, highWaterMs } = record;
    const held = this.#held;
    const isSame = held?.generator.worker === worker && held.floorMs === floorMs;
    const generator = isSame ? held.generator : new IdGenerator(worker, floorMs, highWaterMs);
    generator.extend(highWaterMs);
    const nowMs = this.#options.clock.monotonicMs();
    const usableMs = isSame ? held.usableMs : isTakenOver ? nowMs + TAKEOVER_MS : nowMs;
    this.#held = { generator, floorMs, modRevision, isTakenOver, usableMs, validMs: sentMs + VALID_MS };
  }

  get #own(): WorkerOwner {
    const { member, incarnation, random } = this.#options;
    this.#owner ??= { member, incarnation, process: Buffer.from(random.bytes(8)).toString('hex') };
    return this.#owner;
  }

  #checkClock(): void {
    if (this.clockMs < 1 || this.clockMs >= ID_MS_END)
      throw unavailable('the clock of this node is before 2020 or after 2089, and IDs have no room for that');
  }
}

/** Invariant 1. */
function change({ worker, modRevision, released }: WorkerChoice, record: WorkerRecord) {
  return {
    comparisons: [
      { key: workerKey(worker), modRevision },
      ...released.map((one) => ({ key: workerKey(one.worker), modRevision: one.modRevision })),
    ],
    changes: [
      { key: workerKey(worker), value: encodeWorker(record) },
      ...released.map((one) => ({ key: workerKey(one.worker), value: encodeWorker(free(one.record)) })),
    ],
  };
}

function free({ floorMs, highWaterMs }: WorkerRecord): WorkerRecord {
  return { member: 0, incarnation: 0, process: '', isTakenOver: false, floorMs, highWaterMs };
}

/** What a node says that cannot make IDs. */
export function unavailable(why: string, cause?: unknown): HoldfastError {
  return new HoldfastError({
    reason: 'ID_WORKER_UNAVAILABLE',
    message: `this node makes no IDs now: ${why}. Nothing was given out; another node may.`,
    outcome: 'NOT_APPLIED',
    cause,
  });
}
