/**
 * Which groups could lose a member's replica and go on. Pure.
 *
 *  1. Only whoever leads in the newest term, and is not ending, is heard.
 *  2. Of a name that is there twice only voters count: who takes a member's place has its name.
 *  3. A group that changes its voters may need those it had before, and is not counted.
 */
import { GroupRole, NodeState, type GroupStatus, type NodeStatus } from '@holdfast/proto/cluster/v1/cluster';

/** A group, by whoever leads it. */
interface LedGroup {
  readonly node: NodeStatus;
  readonly status: GroupStatus;
}

/** Groups that are led, and of whose voters a majority answers, when one node is not counted. */
export function groupsKeptWithout(name: string, nodes: readonly NodeStatus[]): Set<number> {
  const led = newest(nodes.flatMap(ledBy));
  const kept = led.filter(
    ({ node, status }) => node.name !== name && isSound(node) && isKept(name, node, status),
  );
  return new Set(kept.map(({ status }) => Number(status.group)));
}

/** Groups in which a node votes or follows, by those who lead them. */
export function groupsWith(name: string, nodes: readonly NodeStatus[]): Set<number> {
  const led = nodes.flatMap(ledBy).map(({ status }) => status);
  return new Set(
    led
      .filter(({ voters, outgoing, learners }) => [...voters, ...outgoing, ...learners].includes(name))
      .map(({ group }) => Number(group)),
  );
}

function ledBy(node: NodeStatus): LedGroup[] {
  return node.groups.filter(({ role }) => role === GroupRole.LEADER).map((status) => ({ node, status }));
}

/** Invariant 1. */
function newest(led: readonly LedGroup[]): LedGroup[] {
  return led.filter(
    ({ status }) =>
      !led.some((other) => other.status.group === status.group && other.status.term > status.term),
  );
}

function isSound({ state }: NodeStatus): boolean {
  return state !== NodeState.DAMAGED && state !== NodeState.STOPPING;
}

/** Invariants 2, 3. */
function isKept(
  without: string,
  node: NodeStatus,
  { voters, outgoing, learners, followers }: GroupStatus,
): boolean {
  if (outgoing.length > 0) return false;
  const active = followers.filter((one) => one.active).map((one) => one.name);
  const count = (names: readonly string[], name: string) => names.filter((one) => one === name).length;
  const answers = (name: string) => name === node.name || count(active, name) > count(learners, name);
  const answering = [...new Set(voters)].filter((name) => name !== without && answers(name));
  return answering.length > voters.length / 2;
}
