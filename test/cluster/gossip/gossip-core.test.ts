/** One core, what comes to it and what goes out; whole clusters of them play in test/simulation/gossip. */
import { beforeEach, describe, expect, test } from 'vitest';
import { encodeGossip } from '../../../node/cluster/gossip-codec.ts';
import { GossipCore } from '../../../node/cluster/gossip/gossip-core.ts';
import type { GossipBody, GossipMessage, OutgoingGossip } from '../../../node/cluster/gossip/messages.ts';
import type { NodeRecord } from '../../../node/cluster/gossip/node-record.ts';
import { resolveGossipSettings, type GossipSettings } from '../../../node/cluster/gossip/settings.ts';
import { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { record } from './gossip-samples.ts';

const CLUSTER = 'ab'.repeat(16);

let core: GossipCore;
let nowMs: number;

beforeEach(() => begin());

function begin(settings: Partial<GossipSettings> = {}): void {
  const random = new SeededRandom('core');
  core = new GossipCore({
    settings: resolveGossipSettings(settings),
    clusterId: CLUSTER,
    self: record('self'),
    random: () => random.float(),
  });
  nowMs = 0;
  core.tick(0);
}

function from(name: string, body: GossipBody, more: Partial<GossipMessage> = {}): void {
  core.receive(name, { clusterId: CLUSTER, from: { member: 1, start: 1 }, news: [], body, ...more });
}

const sync = (nodes: readonly NodeRecord[], wantsReply = false): GossipBody => ({
  type: 'sync',
  nodes,
  wantsReply,
});
const ping: GossipBody = { type: 'ping', number: 7, target: 'self' };
const sent = (): readonly OutgoingGossip[] => core.take().messages;
const shown = (messages = sent()) => messages.map(({ to, message }) => `${message.body.type}>${to}`);
const stateOf = (name: string) => core.get(name)?.state;

/** Everything that is sent in so much time, tick by tick; whoever is probed answers, but for `mute`. */
function run(durationMs: number, mute?: string): OutgoingGossip[] {
  const all: OutgoingGossip[] = [];
  for (const endMs = nowMs + durationMs; nowMs < endMs;) {
    core.tick((nowMs += 100));
    for (const one of sent()) {
      all.push(one);
      const { type } = one.message.body;
      if (type === 'ping' && one.to !== mute) from(one.to, { type: 'ack', number: numberOf(one) });
    }
  }
  return all;
}

const numberOf = ({ message }: OutgoingGossip) => (message.body as { number: number }).number;

/** Nodes that are known, and of which everything has been told. */
function know(...names: string[]): void {
  from('a', sync(names.map((name) => record(name))));
  run(60_000);
  expect(core.hasToldAll).toBe(true);
}

/** Has a node die that does not contradict. */
function bury(name: string): void {
  from('a', { type: 'notice' }, { news: [{ ...core.get(name)!, state: 'dead' }] });
  run(4_100);
  expect(stateOf(name)).toBe('dead');
}

describe('a question', () => {
  test('to this node is answered, and one to another is not', () => {
    know('a');
    from('a', ping);
    from('a', { ...ping, target: 'else' } as GossipBody);
    expect(sent().map(({ to, message }) => [to, message.body])).toEqual([['a', { type: 'ack', number: 7 }]]);
  });

  test('of somebody who is suspected is answered with just that, so that it can contradict', () => {
    know('a', 'b');
    from('b', { type: 'notice' }, { news: [{ ...core.get('a')!, state: 'suspect', accuser: 'b' }] });
    run(5_000);
    from('a', ping);
    const [answer] = sent();
    expect(answer!.message.news.map(({ name, state }) => [name, state])).toEqual([['a', 'suspect']]);
    from('a', ping, { news: [{ ...core.get('a')!, state: 'alive', incarnation: 6 }] });
    expect(stateOf('a')).toBe('alive');
  });

  test('after a node that has left is answered at once with that', () => {
    know('a', 'b');
    from('b', { type: 'notice' }, { news: [{ ...core.get('b')!, state: 'left' }] });
    run(5_000);
    from('a', { type: 'pingRequest', number: 9, target: 'b' });
    const [answer, ...more] = sent();
    expect([answer!.message.body, more]).toEqual([{ type: 'nack', number: 9 }, []]);
    expect(answer!.message.news.map(({ name, state }) => [name, state])).toEqual([['b', 'left']]);
  });
});

test('who takes this node for gone is told that it is not, whatever it asks', () => {
  know('a');
  core.describe({ zone: 'z' });
  run(5_000);
  from('a', ping, { news: [{ ...core.self, incarnation: 0, state: 'suspect', accuser: 'a' }] });
  const messages = sent();
  expect(shown(messages)).toEqual(['ack>a', 'notice>a']);
  expect(messages[1]!.message.news).toEqual([core.self]);
});

describe('strangers', () => {
  test('of another cluster are not heard, nor answered, and counted', () => {
    from('a', ping, { clusterId: 'cd'.repeat(16), news: [record('x')] });
    from('a', sync([record('x')], true), { clusterId: 'cd'.repeat(16) });
    expect([sent(), core.get('x'), core.counts.foreign]).toEqual([[], undefined, 2]);
  });

  test('that are an earlier run are told so, and not heard', () => {
    from('a', sync([record('a', { start: 3 })]), { from: { member: 1, start: 3 } });
    core.take();
    from('a', ping, { from: { member: 1, start: 2 }, news: [record('x')] });
    const body = { type: 'refusal', newer: { member: 1, start: 3 } };
    expect(sent().map(({ message }) => message.body)).toEqual([body]);
    expect([core.get('x'), core.counts.outdated]).toEqual([undefined, 1]);
  });

  test('that have this node’s own name are not heard', () => {
    from('self', sync([record('x')], true));
    expect([sent(), core.get('x')]).toEqual([[], undefined]);
  });
});

test('a run that was replaced says and hears nothing any more', () => {
  know('a');
  from('a', { type: 'refusal', newer: { member: 1, start: 1 } });
  expect(core.newer).toBeUndefined();
  from('a', { type: 'refusal', newer: { member: 1, start: 2 } });
  expect(core.newer).toEqual({ member: 1, start: 2 });
  expect(run(40_000)).toEqual([]);
  from('a', sync([record('x')], true));
  expect([sent(), core.get('x')]).toEqual([[], undefined]);
});

describe('joining', () => {
  test('asks seeds until one tells what there is', () => {
    core.join(['self', 's1', 's2']);
    const asks = run(3_000);
    expect(new Set(shown(asks.filter(({ message }) => message.body.type === 'sync')))).toEqual(
      new Set(['sync>s1', 'sync>s2']),
    );
    from('s1', sync([record('s1')]));
    expect(stateOf('s1')).toBe('alive');
    // The other one is only asked whether it is there, as one of whom nothing is known.
    const types = new Set(
      run(20_000, 's2').flatMap(({ to, message }) => (to === 's2' ? [message.body.type] : [])),
    );
    expect(types).not.toContain('sync');
  });

  test('who is asked by a node that the news has missed, or by a later run, asks it in turn', () => {
    know('a');
    from('x', ping);
    expect(shown()).toEqual(['ack>x', 'sync>x']);
    from('a', ping, { from: { member: 1, start: 2 } });
    expect(shown()).toEqual(['ack>a', 'sync>a']);
    from('a', ping);
    expect(shown()).toEqual(['ack>a']);
  });

  test('a Sync that wants a reply gets all that is known', () => {
    know('a', 'b');
    from('c', sync([record('c')], true));
    const [reply] = sent();
    const { body } = reply!.message;
    expect(reply!.to).toBe('c');
    expect(body.type === 'sync' && [body.wantsReply, body.nodes.map(({ name }) => name).sort()]).toEqual([
      false,
      ['a', 'b', 'c', 'self'],
    ]);
  });

  test('of more nodes than a Sync has room for, it has itself and the receiver', () => {
    begin({ maxSyncBytes: 400 });
    const names = Array.from({ length: 20 }, (_, at) => `n${at}`);
    from(
      'n7',
      sync(
        names.map((name) => record(name)),
        true,
      ),
    );
    const [reply] = sent();
    expect(encodeGossip(reply!.message).length).toBeLessThan(500);
    const { body } = reply!.message;
    const told = body.type === 'sync' ? body.nodes.map(({ name }) => name) : [];
    expect(told.slice(0, 2)).toEqual(['self', 'n7']);
    expect(told.length).toBeLessThan(8);
  });
});

describe('a death', () => {
  test.each(['news', 'a Sync'])('that is told by %s is a suspicion, and the node is asked', (by) => {
    know('a', 'b');
    const dead = { ...core.get('b')!, state: 'dead' } as const;
    const tell = () =>
      by === 'news' ? from('a', { type: 'notice' }, { news: [dead] }) : from('a', sync([dead]));
    tell();
    expect(core.get('b')).toMatchObject({ state: 'suspect', accuser: 'a' });
    const [question] = sent();
    expect(shown([question!])).toEqual(['notice>b']);
    expect(question!.message.news.map(({ name, state }) => [name, state])).toEqual([['b', 'suspect']]);
    tell();
    expect([stateOf('b'), shown()]).toEqual(['suspect', []]);
    run(3_900);
    expect(stateOf('b')).toBe('suspect');
    run(200);
    expect(stateOf('b')).toBe('dead');
  });

  test('that others do not know of has the node asked', () => {
    know('a', 'b');
    bury('b');
    from('a', sync([{ ...core.get('b')!, state: 'alive' }]));
    expect([stateOf('b'), shown()]).toEqual(['dead', ['notice>b']]);
  });

  test('is asked about again, and an answer followed by a Sync', () => {
    know('b');
    bury('b');
    let question: OutgoingGossip | undefined;
    while (question === undefined) {
      core.tick((nowMs += 100));
      question = sent().find(({ to }) => to === 'b');
    }
    expect(nowMs).toBeLessThanOrEqual(80_000);
    expect(question.message.body).toMatchObject({ type: 'ping', target: 'b' });
    expect(question.message.news.map(({ name, state }) => `${name} ${state}`)).toContain('b dead');
    from('b', { type: 'ack', number: numberOf(question) + 1 });
    expect(shown()).toEqual([]);
    from('b', { type: 'ack', number: numberOf(question) });
    expect(shown()).toEqual(['sync>b']);
  });
});

describe('at rest', () => {
  test('nothing but a probe a second is sent, and a Sync in 30', () => {
    know('a', 'b', 'c');
    run(60_000);
    const types = run(60_000).map(({ message }) => message.body.type);
    const count = (type: string) => types.filter((one) => one === type).length;
    expect([count('ping'), count('sync'), types.length]).toEqual([60, 2, 62]);
  });

  test('who says how busy it is says so when that has changed by much, and rarely', () => {
    know('a');
    const loads: number[] = [];
    for (let step = 0; step < 120; step++) {
      core.setLoad(step % 2 === 0 ? 50 : 95);
      run(1_000);
      if (loads.at(-1) !== core.self.load) loads.push(core.self.load);
    }
    expect(loads.length).toBeGreaterThanOrEqual(2);
    expect(loads.length).toBeLessThanOrEqual(6);
    const { incarnation, load } = core.self;
    core.setLoad(load + (load > 50 ? -9 : 9));
    run(60_000);
    expect(core.self.incarnation).toBe(incarnation);
  });
});

test('who leaves tells others, and probes nobody any more', () => {
  know('a', 'b');
  core.leave();
  expect(shown()).toEqual(expect.arrayContaining(['notice>a', 'notice>b']));
  const rest = run(5_000);
  expect(new Set(rest.map(({ message }) => message.body.type))).toEqual(new Set(['notice']));
  expect(core.hasToldAll).toBe(true);
});

test('a node that slept does not hold the probe that was under way against others, and doubts itself', () => {
  know('a');
  const pinged = () => {
    core.tick((nowMs += 100));
    return sent().some(({ message }) => message.body.type === 'ping');
  };
  while (!pinged());
  core.tick((nowMs += 60_000));
  expect(core.doubt).toBe(1);
  for (let step = 0; step < 8; step++) core.tick((nowMs += 100));
  expect([stateOf('a'), core.counts.silences]).toEqual(['alive', 0]);
});
