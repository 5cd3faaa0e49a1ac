import { expect, test } from 'vitest';
import { DEFAULT_GOSSIP_SETTINGS, resolveGossipSettings } from '../../../node/cluster/gossip/settings.ts';

test('what is not given is the default, and nothing can be changed afterwards', () => {
  const settings = resolveGossipSettings({ indirectProbes: 5 });
  expect(settings).toEqual({ ...DEFAULT_GOSSIP_SETTINGS, indirectProbes: 5 });
  expect(Object.isFrozen(settings)).toBe(true);
});

test.each([
  [{ probeIntervalMs: 0 }, 'probeIntervalMs is 0, not a positive integer'],
  [{ retransmits: 1.5 }, 'retransmits is 1.5, not a positive integer'],
  [{ maxStepMs: NaN }, 'maxStepMs is NaN, not a positive integer'],
  [{ probeTimeoutMs: 1_000 }, 'probeTimeoutMs is 1000, not below probeIntervalMs 1000'],
  [{ nackTimeoutMs: 600 }, 'nackTimeoutMs is 600, not below probeTimeoutMs 500'],
])('%o is refused', (settings, message) => {
  expect(() => resolveGossipSettings(settings)).toThrow(new RangeError(message));
});
