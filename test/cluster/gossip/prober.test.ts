/** One probe at a time, its verdicts, and probes for others. Times of ticks are given, answers come when told. */
import { beforeEach, describe, expect, test } from 'vitest';
import { LocalHealth } from '../../../node/cluster/gossip/local-health.ts';
import type { GossipBody } from '../../../node/cluster/gossip/messages.ts';
import { Prober } from '../../../node/cluster/gossip/prober.ts';
import { resolveGossipSettings } from '../../../node/cluster/gossip/settings.ts';

let health: LocalHealth;
let sent: { to: string; body: GossipBody }[];
let silent: string[];
let prober: Prober;

function begin(maxRelays = 10): void {
  health = new LocalHealth(8);
  sent = [];
  silent = [];
  const host = {
    nextToProbe: () => 'b',
    helpersFor: (_: string, count: number) => ['c', 'd', 'e'].slice(0, count),
    send: (to: string, body: GossipBody) => void sent.push({ to, body }),
    onSilent: (target: string) => void silent.push(target),
  };
  prober = new Prober(resolveGossipSettings({ maxRelays }), health, host, () => 0);
}

beforeEach(() => begin());

/** What was sent since, as `type>receiver`. */
function taken(): string[] {
  return sent.splice(0).map(({ to, body }) => `${body.type}>${to}`);
}

const asked = () => (sent[0]!.body as { number: number }).number;

describe('a probe', () => {
  test('that is answered is followed by the next after an interval', () => {
    prober.tick(0);
    const number = asked();
    expect(taken()).toEqual(['ping>b']);
    prober.onAck('b', number);
    for (const nowMs of [100, 500, 900]) prober.tick(nowMs);
    expect(taken()).toEqual([]);
    prober.tick(1_000);
    expect(taken()).toEqual(['ping>b']);
    expect(silent).toEqual([]);
  });

  test('without an answer goes through three others, and then is a verdict', () => {
    prober.tick(0);
    taken();
    prober.tick(500);
    expect(taken()).toEqual(['pingRequest>c', 'pingRequest>d', 'pingRequest>e']);
    prober.tick(900);
    expect(silent).toEqual([]);
    prober.tick(1_000);
    expect(silent).toEqual(['b']);
  });

  test('may be answered by whoever was asked, and by nobody else', () => {
    prober.tick(0);
    const number = asked();
    prober.onAck('c', number);
    prober.tick(500);
    prober.onAck('x', number);
    prober.onAck('b', number + 1);
    prober.tick(1_000);
    expect(silent).toEqual(['b']);
    taken();
    prober.tick(1_100);
    begin();
    prober.tick(0);
    const second = asked();
    prober.tick(500);
    prober.onAck('d', second);
    prober.tick(1_000);
    expect(silent).toEqual([]);
  });

  test('that was abandoned is no verdict, and its answer none', () => {
    prober.tick(0);
    const number = asked();
    prober.abandon();
    prober.onAck('b', number);
    prober.tick(900);
    prober.tick(1_500);
    expect(silent).toEqual([]);
  });
});

describe('doubt', () => {
  function fail(nacks: readonly string[]): void {
    prober.tick(0);
    const number = asked();
    prober.tick(500);
    for (const helper of nacks) prober.onNack(helper, number);
    prober.tick(1_000);
  }

  test.each([
    [['c', 'd', 'e'], 0],
    [['c', 'c', 'x'], 2],
    [[], 3],
  ])('after nacks of %o is %i', (nacks, doubt) => {
    fail(nacks);
    expect(health.doubt).toBe(doubt);
  });

  test('stretches the next probe, and an answer lowers it', () => {
    fail([]);
    taken();
    // The failed one has been followed by the next at once.
    prober.tick(1_000 + 500 * 4 - 100);
    expect(taken()).toEqual([]);
    prober.tick(1_000 + 500 * 4);
    expect(taken()).toHaveLength(3);
    prober.tick(1_000 + 1_000 * 4);
    expect(silent).toEqual(['b', 'b']);
    const number = asked();
    prober.onAck('b', number);
    expect(health.doubt).toBe(5);
  });
});

describe('a probe for somebody else', () => {
  test('is passed on, and the answer passed back under the number of who asked', () => {
    prober.relay('a', 77, 'z', 0);
    const number = asked();
    expect(taken()).toEqual(['ping>z']);
    prober.onAck('y', number);
    expect(taken()).toEqual([]);
    prober.onAck('z', number);
    expect(sent).toEqual([{ to: 'a', body: { type: 'ack', number: 77 } }]);
    prober.onAck('z', number);
    expect(sent).toHaveLength(1);
  });

  test('without an answer is said to be so, once, and an answer still passed back', () => {
    prober.tick(0);
    prober.relay('a', 77, 'z', 0);
    const number = (sent[1]!.body as { number: number }).number;
    taken();
    for (const nowMs of [200, 300, 400]) prober.tick(nowMs);
    expect(sent).toEqual([{ to: 'a', body: { type: 'nack', number: 77 } }]);
    prober.onAck('z', number);
    expect(taken()).toEqual(['nack>a', 'ack>a']);
  });

  test('ends; and more than so many at a time are not begun', () => {
    begin(2);
    for (const number of [1, 2, 3]) prober.relay('a', number, 'z', 0);
    expect(taken()).toHaveLength(2);
    prober.tick(2_000);
    taken();
    prober.relay('a', 4, 'z', 2_000);
    expect(taken()).toEqual(['ping>z']);
  });
});
