/**
 * Which worker number a process takes, and from when on. Pure.
 *
 *  1. A number of a member of the cluster is taken by that member alone.
 *  2. Who takes a number begins at the high-water that is stored with it.
 *  3. A number whose high-water the clock has come to goes first: IDs can be made at once. Of
 *     those, numbers of members that are gone come last: it is not known when they stopped.
 */
import { WORKERS } from '@holdfast/client/ids/id-layout';
import { MAX_AHEAD_MS } from './id-generator.ts';
import { isOwn, type StoredWorker, type WorkerOwner } from './worker-record.ts';

export interface ChoiceInputs {
  readonly stored: readonly StoredWorker[];
  readonly own: WorkerOwner;
  /** Whether a member is gone for good. */
  readonly isGone: (member: number) => boolean;
  /** In milliseconds of IDs. */
  readonly clockMs: number;
  /** The clock is behind the number that the process has: another one would do better. */
  readonly isBehind: boolean;
}

/** A number to take, or to keep. */
export interface WorkerChoice {
  readonly worker: number;
  readonly floorMs: number;
  /** Its high-water as it is stored; 0: it was never used. */
  readonly highWaterMs: number;
  /** Of its key; 0: there is none. */
  readonly modRevision: number;
  /** Whoever had it did not give it up, and may not know that it is gone. */
  readonly isTakenOver: boolean;
  /** Numbers that this member has no use for any more. */
  readonly released: readonly StoredWorker[];
}

/** Undefined: all numbers are taken. */
export function chooseWorker(inputs: ChoiceInputs): WorkerChoice | undefined {
  const { stored, own, clockMs, isBehind } = inputs;
  const mine = stored.filter(({ record }) => record.member === own.member);
  const held = mine.find(({ record }) => isOwn(record, own));
  let best = held && kept(held);
  if (best === undefined || isBehind) {
    for (const candidate of candidates(inputs, mine)) {
      if (candidate.highWaterMs <= clockMs + MAX_AHEAD_MS) {
        best = candidate; // invariant 3
        break;
      }
      if (best === undefined || (held === undefined && candidate.highWaterMs < best.highWaterMs))
        best = candidate;
    }
  }
  return best && { ...best, released: mine.filter(({ worker }) => worker !== best.worker) };
}

type Candidate = Omit<WorkerChoice, 'released'>;

/** Those of this member, then those that nobody has, from where its own would be if nobody had moved, then those of the gone. */
function* candidates({ stored, own, isGone }: ChoiceInputs, mine: readonly StoredWorker[]) {
  for (const one of mine) if (!isOwn(one.record, own)) yield taken(one, false);
  const byNumber = new Map(stored.map((one) => [one.worker, one]));
  const gone: StoredWorker[] = [];
  for (let at = 0; at < WORKERS; at++) {
    const worker = (own.member - 1 + at) % WORKERS;
    const one = byNumber.get(worker);
    if (one === undefined) yield { worker, floorMs: 0, highWaterMs: 0, modRevision: 0, isTakenOver: false };
    else if (one.record.member === 0) yield taken(one, false);
    else if (isGone(one.record.member)) gone.push(one); // invariant 1
  }
  for (const one of gone) yield taken(one, true);
}

/** Invariant 2. */
function taken(
  { worker, record: { highWaterMs }, modRevision }: StoredWorker,
  isTakenOver: boolean,
): Candidate {
  return { worker, floorMs: highWaterMs, highWaterMs, modRevision, isTakenOver };
}

function kept({ worker, record, modRevision }: StoredWorker): Candidate {
  const { floorMs, highWaterMs, isTakenOver } = record;
  return { worker, floorMs, highWaterMs, modRevision, isTakenOver };
}
