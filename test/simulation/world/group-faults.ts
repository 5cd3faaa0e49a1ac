/**
 * What operators do to groups while everything else goes wrong: change their members,
 * hand leadership over, create keyspaces. A replica that was removed keeps its data and may be added again.
 */
import type { Configuration, ConfigurationChange } from '../../../node/raft/core/configuration.ts';
import type { GroupReplica } from '../../../node/raft/group-replica.ts';
import { isUp, type FaultKind, type FaultScene } from './fault.ts';
import type { WorldNode } from './world-node.ts';
import { newestMembers } from './operator-faults.ts';
import { pick } from './world-settings.ts';

/** Fewer voters than this are not left: one of them may be away for good. */
const LEAST_VOTERS = 3;

const changeMembers: FaultKind = {
  name: 'change-members',
  leastNodes: 3,
  everyMs: [400, 3_000],
  inject(scene) {
    const led = scene.changesMembers ? someLedGroup(scene) : undefined;
    if (led === undefined) return undefined;
    const { node, replica } = led;
    const drawn = drawChanges(scene, replica.core.configuration);
    // Whoever is not told what group 0 says knows of no other group.
    const changes =
      replica.group === 0
        ? drawn.map((change) =>
            change.type === 'remove' ? { ...change, type: 'add learner' as const } : change,
          )
        : drawn;
    if (changes.length === 0) return undefined;
    const { refused } = node.engine!.host.changeConfiguration(replica.group, changes);
    if (refused !== undefined) return undefined;
    const shown = changes.map((change) => `${change.type} ${change.replica}`).join(', ');
    scene.trace.note(node.name, `changes members of group ${replica.group}: ${shown}`);
    return 'done';
  },
};

const transferLeader: FaultKind = {
  name: 'transfer-leader',
  leastNodes: 3,
  everyMs: [400, 3_000],
  inject(scene) {
    const led = someLedGroup(scene);
    if (led === undefined) return undefined;
    const { node, replica } = led;
    const others = replica.core.configuration.voters.filter((voter) => voter !== replica.core.id);
    if (others.length === 0) return undefined;
    const to = pick(scene.random, ...others);
    if (node.engine!.host.transferLeader(replica.group, to) !== undefined) return undefined;
    scene.trace.note(node.name, `hands group ${replica.group} to ${to}`);
    return 'done';
  },
};

/** A group that some node leads, as far as that node knows. */
function someLedGroup(scene: FaultScene): { node: WorldNode; replica: GroupReplica } | undefined {
  const led = scene.nodes
    .filter((node) => isUp(node) && !node.isPaused)
    .flatMap((node) =>
      node.engine!.host.replicas.filter(({ isLeader }) => isLeader).map((replica) => ({ node, replica })),
    );
  return led.length === 0 ? undefined : pick(scene.random, ...led);
}

/** One or two changes that leave enough voters on nodes that still have their data. */
function drawChanges(scene: FaultScene, configuration: Configuration): ConfigurationChange[] {
  const { random, nodes } = scene;
  const { voters, learners } = configuration;
  const active = newestMembers(nodes).filter(({ state }) => state === 'active');
  const fit = nodes.filter(({ isDamaged, replica }) => !isDamaged && active.some(({ id }) => id === replica));
  const sound = new Set(fit.map(({ replica }) => replica));
  const changes: ConfigurationChange[] = [];
  const change = (type: ConfigurationChange['type'], replica: number) => changes.push({ type, replica });
  const outside = [...sound].filter((id) => !voters.includes(id));
  if (outside.length > 0 && random.chance(0.6)) {
    const id = pick(random, ...outside);
    change(learners.includes(id) || random.chance(0.3) ? 'add voter' : 'add learner', id);
  }
  const left = voters.filter((id) => sound.has(id)).length;
  if (left > LEAST_VOTERS && random.chance(0.6)) {
    change(random.chance(0.3) ? 'add learner' : 'remove', pick(random, ...voters));
  }
  return changes;
}

/** Nobody uses it, but every node has to hear of it. Whether it comes to be is up to the faults. */
const createKeyspace: FaultKind = {
  name: 'create-keyspace',
  everyMs: [800, 6_000],
  inject(scene) {
    const { keyspaces } = pick(scene.random, ...scene.clients).holdfast;
    const name = `late${scene.random.u32()}`;
    keyspaces.create(name, { partitions: pick(scene.random, 1, 2) }).catch(() => undefined);
    return 'done';
  },
};

export const GROUP_FAULTS: readonly FaultKind[] = [changeMembers, transferLeader, createKeyspace];
