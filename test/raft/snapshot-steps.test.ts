/** Either side of a snapshot's way loses its power after each of its steps in turn, and nothing is lost. */
import { expect, test } from 'vitest';
import { prepareLag, transfer, type Side } from './snapshot-steps.ts';

/** How many steps of each side are tried, evenly spread; `all`: every one. */
const STEPS = process.env['STEPS'] ?? '16';
const SEEDS = (process.env['SEEDS'] ?? 'a').split(',');
const SIDES: readonly Side[] = ['receiver', 'sender'];

test.each(SEEDS)(
  'seed %s: power that fails after any step of a transfer, on either side, harms nothing',
  { timeout: 1_800_000 },
  async (seed) => {
    const lag = await prepareLag(seed);
    const whole = await transfer(lag);
    expect(whole.parts).toBeGreaterThan(3);
    expect(whole.acknowledged).toBeGreaterThan(3);
    for (const side of SIDES) expect(whole.steps[side]).toBeGreaterThan(50);
    const sums = { runs: 0, acknowledged: 0, again: 0 };
    for (const side of SIDES) {
      for (const step of spread(whole.steps[side])) {
        const { acknowledged, offers } = await transfer(lag, { side, step }).catch((cause: unknown) => {
          throw new Error(`seed ${seed}, ${side} at step ${step} of ${whole.steps[side]}`, { cause });
        });
        sums.runs++;
        sums.acknowledged += acknowledged;
        if (offers > whole.offers) sums.again++;
      }
    }
    const { receiver, sender } = whole.steps;
    console.log(
      `seed ${seed}: ${receiver} steps of the receiver, ${sender} of the sender; ${JSON.stringify(sums)}`,
    );
    expect(sums.runs).toBeGreaterThanOrEqual(30);
    expect(sums.again).toBeGreaterThan(sums.runs / 4);
    expect(sums.acknowledged).toBeGreaterThan(10 * sums.runs);
  },
);

/** Steps 0 to `count`, all or as many as are asked for. */
function spread(count: number): number[] {
  const wanted = STEPS === 'all' ? count + 1 : Math.min(Number(STEPS), count + 1);
  return Array.from({ length: wanted }, (_, at) => Math.floor((at * (count + 1)) / wanted));
}
