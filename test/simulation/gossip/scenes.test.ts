/** Clusters of cores on a network that loses, cuts and delays. */
import { describe, expect, test } from 'vitest';
import { GossipNetwork } from './gossip-network.ts';
import { playStall, SCENES } from './scenes.ts';

/** `SEEDS=1000` plays as many of each scene. */
const SEEDS = Number(process.env.SEEDS ?? 20);

const seeds = (count: number) => Array.from({ length: count }, (_, seed) => seed);

describe.each(SCENES.map((scene) => [scene.name, scene] as const))('%s', (_, scene) => {
  test.each([5, 10])('with %i nodes', (nodes) => {
    for (const seed of seeds(SEEDS)) scene.play(seed, nodes);
  });

  test('with 60 nodes', () => scene.play('many', 60));
});

test.each([3, 10, 30])(
  'of %i nodes one stands still again and again: no other dies, in 100 seeds',
  (nodes) => {
    for (const seed of seeds(100)) playStall(seed, nodes);
  },
  300_000,
);

test('the same seed is the same run', () => {
  const run = () => {
    const network = new GossipNetwork({ seed: 'again', loss: 0.1 });
    const names = network.startMany(7);
    network.crash(names[3]!);
    network.runFor(30_000);
    return JSON.stringify([network.changes, network.running.map(({ sent }) => sent)]);
  };
  expect(run()).toBe(run());
});
