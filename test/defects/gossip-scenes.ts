/** The scenes of clusters that gossip, of some seeds each. */
import { SCENES } from '../simulation/gossip/scenes.ts';

const SEEDS = 5;
const NODES = 10;

/** Throws when something is not as it has to be. */
export async function play(): Promise<void> {
  for (const scene of SCENES) for (let seed = 0; seed < SEEDS; seed++) scene.play(seed, NODES);
}
