import type { WorldReport } from './report.ts';
import { World } from './world.ts';
import type { WorldOptions } from './world-settings.ts';

/** How a run ended. */
export type Played = { readonly report: WorldReport } | { readonly error: Error; readonly atMs: number };

/** Plays one seed. A promise that is rejected with nobody to hear it fails the run. */
export async function play(seed: string, options: WorldOptions = {}): Promise<Played> {
  const world = new World(seed, options);
  const onUnheard = (reason: unknown) =>
    world.fail(reason instanceof Error ? reason : new Error(String(reason)));
  process.on('unhandledRejection', onUnheard);
  try {
    return { report: await world.run() };
  } catch (error) {
    return { error: error as Error, atMs: world.scheduler.nowMs() };
  } finally {
    process.off('unhandledRejection', onUnheard);
  }
}

/** The command that plays a seed again. */
export function replayCommand(
  seed: string,
  { nodes, coordination, broker, gossip }: WorldOptions = {},
): string {
  const options = [
    ...(nodes === undefined ? [] : [`--nodes ${nodes}`]),
    ...(coordination === false ? ['--without-coordination'] : []),
    ...(broker === true ? ['--broker'] : []),
    ...(gossip === true ? ['--gossip'] : []),
  ];
  return ['npm run sim --', `--seed ${seed}`, ...options, '--trace'].join(' ');
}
