/** What a node that stands still again and again does to the others, with and without what is to prevent it. */
import type { GossipSettings } from '../../../node/cluster/gossip/settings.ts';
import { GossipNetwork } from './gossip-network.ts';

export interface StallFigures {
  readonly nodes: number;
  readonly seeds: number;
  /** Others that were suspected, and held for dead, by anybody. */
  readonly othersSuspected: number;
  readonly othersDead: number;
  /** The node that stands still. */
  readonly ownSuspected: number;
  readonly ownDead: number;
}

/** 100 s of each seed; one node stands still for 2 s in every 10, and a share of the messages is lost. */
export function measureStalls(
  nodes: number,
  seeds: number,
  loss: number,
  settings: Partial<GossipSettings> = {},
): StallFigures {
  const figures = { othersSuspected: 0, othersDead: 0, ownSuspected: 0, ownDead: 0 };
  for (let seed = 0; seed < seeds; seed++) {
    const network = new GossipNetwork({ seed, settings });
    const stalled = network.startMany(nodes)[1]!;
    network.loss = loss;
    network.changes.length = 0;
    for (let round = 0; round < 10; round++) {
      network.stall(stalled, 2_000);
      network.runFor(10_000);
    }
    for (const { before, after } of network.changes) {
      const whose = after?.name === stalled ? 'own' : 'others';
      if (after?.state === 'dead') figures[`${whose}Dead`]++;
      if (after?.state === 'suspect' && before?.state === 'alive') figures[`${whose}Suspected`]++;
    }
  }
  return { nodes, seeds, ...figures };
}
