import type { Clock } from '@holdfast/client/clock';
import { sleep } from '@holdfast/client/clock';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { SystemClock } from '../../node/runtime/system-clock.ts';

/** Where the scenes of a conformance suite are played: on the machine, or in a simulated world. */
export interface Stage {
  readonly clock: Clock;
  /** Plays a scene to its end; in a simulated world this is what makes time pass. */
  play(scene: () => Promise<void>): Promise<void>;
}

/** A subject under test on its stage; `dispose` releases what it holds on the machine. */
export interface Staged<T> {
  readonly stage: Stage;
  readonly subject: T;
  dispose(): Promise<void>;
}

/** The machine itself. */
export function realStage(): Stage {
  return { clock: new SystemClock(), play: (scene) => scene() };
}

/** A fresh simulated world. */
export function simulatedStage(): Stage & { readonly scheduler: SimulatedScheduler } {
  const scheduler = new SimulatedScheduler();
  return {
    clock: new SimulatedClock(scheduler),
    scheduler,
    play: (scene) => scheduler.settle(scene(), 3_600_000),
  };
}

/** Makes a scene of `body` with a new subject, for `it`. */
export function scene<T>(
  factory: () => Promise<Staged<T>>,
  body: (subject: T, stage: Stage) => Promise<void>,
) {
  return async () => {
    const staged = await factory();
    try {
      await staged.stage.play(() => body(staged.subject, staged.stage));
    } finally {
      await staged.dispose();
    }
  };
}

/** Waits until `condition` holds; throws when it does not within `withinMs`. */
export async function until(clock: Clock, condition: () => boolean, withinMs = 30_000): Promise<void> {
  const deadlineMs = clock.monotonicMs() + withinMs;
  while (!condition()) {
    if (clock.monotonicMs() > deadlineMs)
      throw new Error(`not so within ${withinMs} ms: ${condition.toString()}`);
    await sleep(clock, 5);
  }
}

/** The `code` of the error that `promise` rejects with; undefined when it resolves. */
export async function errorCode(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}
