/** How long a suspicion takes: against the formula of Lifeguard, written out. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { resolveGossipSettings } from '../../../node/cluster/gossip/settings.ts';
import { shortestSuspicionMs, Suspicion } from '../../../node/cluster/gossip/suspicion.ts';

const settings = resolveGossipSettings();

function naiveMs(nodes: number, confirmations: number): number {
  const least = 4_000 * Math.max(1, Math.log10(nodes));
  const wanted = Math.min(3, nodes - 2);
  if (wanted <= 0) return least;
  const share = Math.log(confirmations + 1) / Math.log(wanted + 1);
  return Math.max(least, 6 * least - (6 * least - least) * share);
}

describe('a suspicion', () => {
  test('shrinks with each other accuser, to its shortest with the third', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 300 }), fc.integer({ min: 0, max: 6 }), (nodes, more) => {
        const suspicion = new Suspicion(settings, 1_000, nodes, 'first');
        for (let at = 0; at < more; at++) suspicion.confirm(`other ${at}`);
        const counted = Math.min(more, Math.max(0, Math.min(3, nodes - 2)));
        expect(suspicion.deadlineMs).toBeCloseTo(1_000 + naiveMs(nodes, counted), 6);
      }),
    );
  });

  test('counts an accuser once, and no more than it needs', () => {
    const suspicion = new Suspicion(settings, 0, 10, 'a');
    expect(['a', 'b', 'b', 'c', 'd', 'e'].map((accuser) => suspicion.confirm(accuser))).toEqual([
      false,
      true,
      false,
      true,
      true,
      false,
    ]);
  });

  test('of one of two nodes is at its shortest from the beginning', () => {
    expect(new Suspicion(settings, 0, 2, 'a').deadlineMs).toBe(shortestSuspicionMs(settings, 2));
  });
});
