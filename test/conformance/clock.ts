import { describe, expect, it } from 'vitest';
import { sleep } from '@holdfast/client/clock';
import { scene, until, type Stage, type Staged } from './stage.ts';

/** What every Clock must do. The clock under test is the stage's own. */
export function describeClock(name: string, makeStage: () => Stage): void {
  const factory = (): Promise<Staged<null>> =>
    Promise.resolve({ stage: makeStage(), subject: null, dispose: () => Promise.resolve() });
  const play = (body: (stage: Stage) => Promise<void>) => scene(factory, (_, stage) => body(stage));

  describe(`Clock: ${name}`, () => {
    it(
      'gives wall time in whole milliseconds after 2020',
      play(({ clock }) => {
        expect(clock.wallMs()).toBeGreaterThan(Date.UTC(2020, 0, 1));
        expect(Number.isInteger(clock.wallMs())).toBe(true);
        return Promise.resolve();
      }),
    );

    it(
      'runs a timer once, not before its time',
      play(async ({ clock }) => {
        const startMs = clock.monotonicMs();
        const ranAtMs: number[] = [];
        clock.setTimer(7.5, () => ranAtMs.push(clock.monotonicMs() - startMs));
        await until(clock, () => ranAtMs.length > 0);
        await sleep(clock, 20);
        expect(ranAtMs).toHaveLength(1);
        expect(ranAtMs[0]).toBeGreaterThanOrEqual(7.5);
      }),
    );

    it(
      'runs timers in the order of their times',
      play(async ({ clock }) => {
        const order: string[] = [];
        clock.setTimer(40, () => order.push('late'));
        clock.setTimer(1, () => order.push('early'));
        await until(clock, () => order.length === 2);
        expect(order).toEqual(['early', 'late']);
      }),
    );

    it(
      'never runs a cancelled timer',
      play(async ({ clock }) => {
        let runs = 0;
        const timer = clock.setTimer(5, () => runs++);
        timer.cancel();
        timer.cancel();
        await sleep(clock, 30);
        expect(runs).toBe(0);
      }),
    );

    it(
      'takes a negative or missing delay as none, and a long one as long',
      play(async ({ clock }) => {
        let runs = 0;
        clock.setTimer(-5, () => runs++);
        clock.setTimer(Number.NaN, () => runs++);
        const long = clock.setTimer(2 ** 33, () => (runs += 10));
        await until(clock, () => runs === 2);
        await sleep(clock, 10);
        long.cancel();
        expect(runs).toBe(2);
      }),
    );

    it(
      'runs afterTurn once, after this turn and its promises',
      play(async ({ clock }) => {
        const order: string[] = [];
        clock.afterTurn(() => order.push('after'));
        void Promise.resolve().then(() => order.push('promise'));
        order.push('turn');
        await until(clock, () => order.includes('after'));
        expect(order).toEqual(['turn', 'promise', 'after']);
      }),
    );

    it(
      'sleep ends early with the reason of its signal',
      play(async ({ clock }) => {
        const controller = new AbortController();
        const reason = new Error('enough');
        clock.setTimer(5, () => controller.abort(reason));
        await expect(sleep(clock, 60_000, controller.signal)).rejects.toBe(reason);
        await expect(sleep(clock, 1, controller.signal)).rejects.toBe(reason);
      }),
    );
  });
}
