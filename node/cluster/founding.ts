/**
 * Whether a node without a cluster founds one, joins one that counts on it, or waits. Pure:
 * asked again whenever another node has introduced itself.
 *
 *  1. A cluster is founded only by nodes that all say of themselves that they never belonged
 *     to one, and that name the same nodes.
 *  2. What it is follows from who they are, so whoever founds it founds the same, at any
 *     time: a node that was away at that moment, or whose answer was lost, is counted on.
 *  3. A directory is counted on by the id that was drawn when it was created. One that was
 *     emptied since has another id, and is a stranger under a known name.
 *  4. A directory belongs to one cluster, for good.
 */
import { createHash } from 'node:crypto';
import type { ClusterMember, Introduction, Membership } from './membership.ts';

/** What to do now. */
export type Founding =
  | { readonly kind: 'belong'; readonly membership: Membership }
  /** `why`: for people. */
  | { readonly kind: 'wait'; readonly why: string };

/** `heard`: the newest introduction of each other node that has answered, by name. */
export function decideFounding(self: Introduction, heard: ReadonlyMap<string, Introduction>): Founding {
  const others = self.nodes.filter((name) => name !== self.name);
  const answers = others.flatMap((name) => heard.get(name) ?? []);
  const counting = answers.find(({ membership }) =>
    membership?.members.some((member) => isSelf(member, self)),
  );
  if (counting?.membership !== undefined) return { kind: 'belong', membership: counting.membership };
  const why = whyNot(self, others, answers);
  if (why !== undefined) return { kind: 'wait', why };
  return { kind: 'belong', membership: foundedBy([self, ...answers]) };
}

/** The same of a node that is to join a cluster, whatever its cluster.yaml says: it founds none. */
export function decideJoining(self: Introduction, answers: readonly Introduction[]): Founding {
  const counting = answers.find(({ membership }) =>
    membership?.members.some((member) => isSelf(member, self)),
  );
  if (counting?.membership !== undefined) return { kind: 'belong', membership: counting.membership };
  const belonging = answers.find(({ membership }) => membership !== undefined);
  if (belonging === undefined)
    return { kind: 'wait', why: 'no node of a cluster answers at the addresses to join' };
  const isKnown = belonging.membership!.members.some(({ name }) => name === self.name);
  return { kind: 'wait', why: `${strangerTo(self, belonging)}${isKnown ? '' : ', and asks for that'}` };
}

function isSelf({ name, nodeId }: ClusterMember, self: Introduction): boolean {
  return name === self.name && nodeId === self.nodeId;
}

/** What keeps a cluster from being founded; undefined: nothing. Invariant 1. */
function whyNot(
  self: Introduction,
  others: readonly string[],
  answers: readonly Introduction[],
): string | undefined {
  const belonging = answers.find(({ membership }) => membership !== undefined);
  if (belonging !== undefined) return strangerTo(self, belonging);
  const differing = answers.find((answer) => planOf(answer) !== planOf(self));
  if (differing !== undefined) {
    return (
      `the cluster.yaml of ${differing.name} has cluster ${differing.cluster} with ${differing.nodes.join(', ')}, ` +
      `this one has cluster ${self.cluster} with ${self.nodes.join(', ')}. Give all nodes the same file and start them again`
    );
  }
  const silent = others.filter((name) => !answers.some((answer) => answer.name === name));
  if (silent.length === 0) return undefined;
  return `a new cluster begins when all nodes of cluster.yaml have answered; not heard of yet: ${silent.join(', ')}`;
}

/** Invariant 3. */
function strangerTo(self: Introduction, { name: peer, membership }: Introduction): string {
  const known = membership!.members.find(({ name }) => name === self.name);
  if (known === undefined) {
    const names = membership!.members.map(({ name }) => name).join(', ');
    return `the cluster that ${peer} belongs to has the members ${names} and does not know ${self.name}: it has to be added to it`;
  }
  return (
    `the cluster that ${peer} belongs to knows ${self.name} with other data. A node that lost its data must not ` +
    'vote as the member that it was: it is taken in as a new one in its place, as soon as the cluster misses that ' +
    'and no other change of members is under way. If the data is not lost, stop the node now and give it its directory back'
  );
}

function planOf({ cluster, nodes }: Introduction): string {
  return `${cluster}:${[...nodes].sort().join(',')}`;
}

/** Invariant 2: numbers by order of names, the id a digest. */
function foundedBy(founders: readonly Introduction[]): Membership {
  const sorted = [...founders].sort((a, b) => (a.name < b.name ? -1 : 1));
  const members = sorted.map(({ name, nodeId, grpc, http }, at): ClusterMember => ({
    id: at + 1,
    name,
    nodeId,
    grpc,
    http,
    state: 'active',
    replaces: 0,
  }));
  const text = [sorted[0]!.cluster, ...members.map(({ name, nodeId }) => `${name} ${nodeId}`)].join('\n');
  return {
    clusterId: createHash('sha256').update(text).digest('hex').slice(0, 32),
    members,
    version: 0,
    nextId: members.length + 1,
    founders: members.map(({ id }) => id),
  };
}
