/**
 * A snapshot's way between whole nodes, without a cut and cut off after some steps of either
 * side: in worlds the moments at which it matters are too short to be met often.
 */
import { prepareLag, transfer, type Side } from '../raft/snapshot-steps.ts';

const SIDES: readonly Side[] = ['receiver', 'sender'];
const CUTS = 6;
/** Between the last part and the log that names the snapshot every step counts. */
const LAST_STEPS = 16;

/** Throws when a transfer ends otherwise than it must. */
export async function play(): Promise<void> {
  const lag = await prepareLag('cuts');
  const { steps, lastPart } = await transfer(lag);
  for (let at = 0; at < CUTS; at++)
    for (const side of SIDES)
      await transfer(lag, { side, step: Math.floor(((at + 0.5) * steps[side]) / CUTS) });
  for (let at = 0; at < LAST_STEPS; at++) await transfer(lag, { side: 'receiver', step: lastPart + at });
}
