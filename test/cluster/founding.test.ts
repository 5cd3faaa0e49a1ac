import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decideFounding, decideJoining } from '../../node/cluster/founding.ts';
import type { Introduction, Membership } from '../../node/cluster/membership.ts';

const NODES = ['n1', 'n2', 'n3'];

function node(name: string, more: Partial<Introduction> = {}): Introduction {
  return {
    name,
    nodeId: `${name}-a`,
    cluster: 'test',
    nodes: NODES,
    grpc: `${name}:7401`,
    http: `${name}:7501`,
    membership: undefined,
    ...more,
  };
}

function heard(...answers: Introduction[]): ReadonlyMap<string, Introduction> {
  return new Map(answers.map((answer) => [answer.name, answer]));
}

function founded(): Membership {
  const founding = decideFounding(node('n1'), heard(node('n2'), node('n3')));
  if (founding.kind !== 'belong') throw new Error(founding.why);
  return founding.membership;
}

function whyWaiting(self: Introduction, ...answers: Introduction[]): string {
  const founding = decideFounding(self, heard(...answers));
  return founding.kind === 'wait' ? founding.why : 'does not wait';
}

describe('a cluster is founded', () => {
  test('when all nodes have said that they never belonged to one; numbers follow the names', () => {
    const { clusterId, members, founders, nextId } = founded();
    expect(clusterId).toMatch(/^[0-9a-f]{32}$/);
    expect(members).toMatchObject([
      { id: 1, name: 'n1', nodeId: 'n1-a', grpc: 'n1:7401', http: 'n1:7501', state: 'active' },
      { id: 2, name: 'n2', nodeId: 'n2-a' },
      { id: 3, name: 'n3', nodeId: 'n3-a' },
    ]);
    expect({ founders, nextId }).toEqual({ founders: [1, 2, 3], nextId: 4 });
  });

  test('by one node alone, when cluster.yaml names no other', () => {
    const founding = decideFounding(node('n1', { nodes: ['n1'] }), heard());
    expect(founding).toMatchObject({ kind: 'belong', membership: { members: [{ id: 1, name: 'n1' }] } });
  });

  test('as the same one by whoever founds it', () => {
    const other = decideFounding(node('n3'), heard(node('n2'), node('n1')));
    expect(other).toEqual({ kind: 'belong', membership: founded() });
  });

  test('as another one by other directories', () => {
    const other = decideFounding(node('n1'), heard(node('n2'), node('n3', { nodeId: 'n3-b' })));
    expect(other).not.toMatchObject({ membership: { clusterId: founded().clusterId } });
  });
});

describe('a node waits', () => {
  test('for those that have not answered', () => {
    expect(whyWaiting(node('n1'), node('n3'))).toContain('not heard of yet: n2');
  });

  test('when another node has another cluster.yaml', () => {
    const why = whyWaiting(node('n1'), node('n2'), node('n3', { nodes: ['n3'] }));
    expect(why).toContain('the cluster.yaml of n3 has cluster test with n3');
    expect(whyWaiting(node('n1'), node('n2', { cluster: 'prod' }), node('n3'))).toContain('cluster prod');
  });

  test('when a cluster exists that knows its name with other data', () => {
    const emptied = node('n3', { nodeId: 'n3-b' });
    const why = whyWaiting(emptied, node('n1', { membership: founded() }), node('n2'));
    expect(why).toContain('knows n3 with other data');
  });

  test('when a cluster exists that does not know it', () => {
    const fourth = node('n4', { nodes: [...NODES, 'n4'] });
    expect(whyWaiting(fourth, node('n1', { membership: founded() }))).toContain('does not know n4');
  });
});

test('a node that was counted on joins, however few answer', () => {
  const founding = decideFounding(node('n3'), heard(node('n1', { membership: founded() })));
  expect(founding).toEqual({ kind: 'belong', membership: founded() });
});

/**
 * Nodes that ask each other in any order, whose answers may be old or lost, that are emptied
 * now and then before they belong to a cluster: no two clusters ever have a majority each.
 */
test('two clusters never both have a majority of their members', () => {
  const step = fc.record({
    who: fc.integer({ min: 0, max: 2 }),
    kind: fc.constantFrom('ask', 'ask', 'ask', 'decide', 'decide', 'decide', 'restart', 'empty'),
    whom: fc.integer({ min: 0, max: 2 }),
  });
  let clusters = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 40, maxLength: 160 }), (steps) => {
      const nodes = NODES.map((name) => ({ self: node(name), heard: new Map<string, Introduction>() }));
      let drawn = 0;
      for (const { who, kind, whom } of steps) {
        const one = nodes[who]!;
        if (kind === 'ask' && who !== whom) one.heard.set(nodes[whom]!.self.name, nodes[whom]!.self);
        if (kind === 'restart') one.heard.clear();
        // Whoever belongs to a cluster and is emptied is the operator's doing, and not taken back.
        if (kind === 'empty' && one.self.membership === undefined) {
          one.self = { ...one.self, nodeId: `${one.self.name}-${++drawn}` };
          one.heard.clear();
        }
        if (kind !== 'decide' || one.self.membership !== undefined) continue;
        const founding = decideFounding(one.self, one.heard);
        if (founding.kind === 'belong') one.self = { ...one.self, membership: founding.membership };
      }
      const counts = new Map<string, number>();
      for (const { self } of nodes) {
        const id = self.membership?.clusterId;
        if (id !== undefined) counts.set(id, (counts.get(id) ?? 0) + 1);
      }
      clusters += counts.size;
      expect([...counts.values()].filter((count) => count >= 2).length).toBeLessThanOrEqual(1);
    }),
    { numRuns: 2_000 },
  );
  expect(clusters).toBeGreaterThan(100);
});

describe('a node that is to join a cluster', () => {
  const self = node('n4', { nodes: ['n4'] });
  const member = (name: string) => node(name, { membership: founded() });

  test('founds none, whoever answers or does not', () => {
    expect(decideJoining(self, [])).toMatchObject({ kind: 'wait', why: expect.stringContaining('no node') });
    expect(decideJoining(self, [node('n1'), node('n2')])).toMatchObject({ kind: 'wait' });
    const alone = node('n4', { nodes: ['n4'] });
    expect(decideFounding(alone, heard())).toMatchObject({ kind: 'belong' });
  });

  test('waits until the cluster counts on its directory, and says for what', () => {
    expect(decideJoining(self, [member('n1')])).toMatchObject({
      kind: 'wait',
      why: expect.stringMatching(
        /n1 .* has the members n1, n2, n3 .*has to be added to it, and asks for that/,
      ),
    });
    const other = node('n2', { nodeId: 'n2-b' });
    const told = decideJoining(other, [member('n1')]);
    expect(told).toMatchObject({ kind: 'wait', why: expect.stringMatching(/knows n2 with other data/) });
    expect(told).not.toMatchObject({ why: expect.stringContaining('asks for that') });
  });

  test('belongs as soon as one of its nodes counts on it', () => {
    const known = founded();
    const row = { ...known.members[2]!, id: 4, name: 'n4', nodeId: 'n4-a' };
    const grown = { ...known, version: 1, nextId: 5, members: [...known.members, row] };
    const answers = [member('n1'), node('n2', { membership: grown })];
    expect(decideJoining(self, answers)).toEqual({ kind: 'belong', membership: grown });
  });
});
