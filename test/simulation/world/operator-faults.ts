/**
 * What operators do to the cluster while everything else goes wrong: take machines in, let
 * members go, replace those that lost their data. Three sound members are always left.
 */
import type { HoldfastError } from '../../../client/error.ts';
import type { ClusterMember } from '../../../node/cluster/membership.ts';
import { someNode, type FaultKind, type FaultScene } from './fault.ts';
import type { WorldNode } from './world-node.ts';
import { pick } from './world-settings.ts';

const LEAST_MEMBERS = 3;

/** The members by the newest table that any node knows. */
export function newestMembers(nodes: readonly WorldNode[]): readonly ClusterMember[] {
  const tables = nodes.flatMap(({ engine }) => engine?.members.current ?? []);
  const newest = tables.reduce((best, table) => (table.version > best.version ? table : best), {
    version: -1,
    members: [] as readonly ClusterMember[],
  });
  return newest.members;
}

/** It lost its data for good, and another node has its place. */
export function hasBeenReplaced(node: WorldNode, nodes: readonly WorldNode[]): boolean {
  const members = newestMembers(nodes);
  if (!isLost(node) || members.length === 0) return false;
  const { name, replica, lostReplica, isWaiting, state } = node;
  if (state !== 'refused' && (!isWaiting || members.some((member) => member.name === name))) return false;
  return !members.some(({ id }) => id === (node.wasWiped ? lostReplica : replica));
}

/** Its data is gone for good, and it is not back yet. */
function isLost({ state, damage, wasWiped }: WorldNode): boolean {
  if (damage === undefined || damage.repair !== undefined) return false;
  return state === 'refused' || (wasWiped && state !== 'up');
}

/** It was emptied and has come back, and nothing is left of the member that it was. */
export function isBackAnew(
  { wasWiped, state, lostReplica }: WorldNode,
  nodes: readonly WorldNode[],
): boolean {
  return wasWiped && state === 'up' && !newestMembers(nodes).some(({ id }) => id === lostReplica);
}

const addMember: FaultKind = {
  name: 'add-member',
  leastNodes: 4,
  everyMs: [3_000, 12_000],
  inject(scene) {
    const spare = someSpare(scene);
    if (spare === undefined) return undefined;
    spare.enlist();
    const { name, address } = spare.member;
    scene.trace.note(name, 'is to be added');
    operator(scene)
      .add({ name, grpc: address, http: httpOf(address) })
      .catch(() => undefined);
    return 'done';
  },
};

const removeMember: FaultKind = {
  name: 'remove-member',
  leastNodes: 4,
  everyMs: [1_000, 6_000],
  inject(scene) {
    const sound = soundMembers(scene);
    if (sound.length <= LEAST_MEMBERS) return undefined;
    const node = someNode(scene, (one) => sound.includes(one));
    if (node === undefined) return undefined;
    node.mayBeRemoved = true;
    scene.trace.note(node.name, 'is to be removed');
    operator(scene)
      .remove(node.name, { allowFewerCopies: true })
      .catch((error: unknown) => {
        if ((error as HoldfastError).outcome === 'NOT_APPLIED') node.mayBeRemoved = false;
      });
    return 'done';
  },
};

const replaceMember: FaultKind = {
  name: 'replace-member',
  leastNodes: 4,
  everyMs: [100, 800],
  inject(scene) {
    const members = newestMembers(scene.nodes);
    const lost = scene.nodes.find((node) => isLost(node) && isIn(members, node));
    const spare = someSpare(scene);
    if (lost === undefined || spare === undefined) return undefined;
    spare.enlist();
    lost.mayBeReplaced = true;
    const { name, address } = spare.member;
    scene.trace.note(name, `is to replace ${lost.name}`);
    const node = { name, grpc: address, http: httpOf(address) };
    operator(scene)
      .replace(lost.name, node)
      .catch(() => undefined);
    return 'done';
  },
};

/** A machine that belongs nowhere, or waits to be added because it was not, last time. */
function someSpare({ nodes, random }: FaultScene): WorldNode | undefined {
  const members = newestMembers(nodes);
  const spares = nodes.filter(
    ({ name, state, isWaiting, mustBeRefused }) =>
      (state === 'spare' || (isWaiting && !mustBeRefused)) && !members.some((member) => member.name === name),
  );
  return spares.length === 0 ? undefined : pick(random, ...spares);
}

/** Nodes that belong wholly, have their data, and nobody wants to let go. */
function soundMembers({ nodes }: FaultScene): WorldNode[] {
  const active = newestMembers(nodes).filter(({ state }) => state === 'active');
  return nodes.filter((node) => !node.isDamaged && !node.mayBeRemoved && isIn(active, node));
}

function isIn(members: readonly ClusterMember[], { replica }: WorldNode): boolean {
  return members.some(({ id }) => id === replica);
}

/** Any client may ask, and any node does it. */
function operator({ clients, random }: FaultScene) {
  return pick(random, ...clients).holdfast.cluster;
}

function httpOf(address: string): string {
  return address.replace(':7401', ':7501');
}

export const OPERATOR_FAULTS: readonly FaultKind[] = [addMember, removeMember, replaceMember];
