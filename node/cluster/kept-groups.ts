/** Which groups could lose a member's replica and go on. Pure. */
import { GroupRole, type NodeStatus } from '@holdfast/proto/cluster/v1/cluster';

/** Groups that are led, and of whose voters a majority answers, when one node is not counted. */
export function groupsKeptWithout(name: string, nodes: readonly NodeStatus[]): Set<number> {
  const kept = new Set<number>();
  for (const node of nodes) {
    if (node.name === name) continue;
    for (const { group, role, voters, followers } of node.groups) {
      if (role !== GroupRole.LEADER) continue;
      const answering = followers.filter(
        (one) => one.active && one.name !== name && voters.includes(one.name),
      );
      const own = voters.includes(node.name) ? 1 : 0;
      if (answering.length + own > voters.length / 2) kept.add(Number(group));
    }
  }
  return kept;
}

/** Groups in which a node votes or follows, by those who lead them. */
export function groupsWith(name: string, nodes: readonly NodeStatus[]): Set<number> {
  const led = nodes.flatMap(({ groups }) => groups).filter(({ role }) => role === GroupRole.LEADER);
  return new Set(
    led
      .filter(({ voters, learners }) => voters.includes(name) || learners.includes(name))
      .map(({ group }) => Number(group)),
  );
}
