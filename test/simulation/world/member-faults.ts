/**
 * Faults that only a cluster survives: a node whose data is gone or is that of an earlier
 * time. Such a node must not vote under its old name. Never of a majority.
 */
import type { DiskImage } from '../../../node/runtime/simulated/simulated-disk.ts';
import { isUp, someNode, type FaultKind, type FaultScene } from './fault.ts';
import type { WorldNode } from './world-node.ts';

const wipe: FaultKind = {
  name: 'wipe',
  leastNodes: 3,
  everyMs: [4_000, 15_000],
  inject(scene) {
    const node = damageable(scene);
    if (node === undefined) return undefined;
    node.kill();
    node.disk.restore({ directories: [], files: new Map() });
    node.medium.empty();
    return lost(scene, node, 'its directory is empty');
  },
};

const rollback: FaultKind = {
  name: 'rollback',
  leastNodes: 3,
  everyMs: [1_000, 6_000],
  inject(scene) {
    const node = damageable(scene);
    const copy = node && copies.get(node);
    if (node === undefined || copy === undefined || scene.random.chance(0.5)) {
      // The operator makes copies more often than he puts them back.
      for (const each of scene.nodes) if (isUp(each)) copies.set(each, copyOf(each));
      return undefined;
    }
    node.kill();
    node.disk.restore(copy.image);
    node.medium.rows = copy.rows;
    return lost(scene, node, 'its directory is an earlier one');
  },
};

/** Copies that an operator made, of files and store at one moment. */
const copies = new WeakMap<WorldNode, { image: DiskImage; rows: WorldNode['medium']['rows'] }>();

function copyOf({ disk, medium }: WorldNode): { image: DiskImage; rows: WorldNode['medium']['rows'] } {
  return { image: disk.snapshot(), rows: medium.rows };
}

function damageable(scene: FaultScene): WorldNode | undefined {
  if (!scene.mayDamage()) return undefined;
  return someNode(scene, (node) => isUp(node) && !node.isDamaged);
}

function lost(scene: FaultScene, node: WorldNode, what: string): 'done' {
  node.damage = { repair: undefined };
  scene.trace.note(node.name, what);
  return 'done';
}

export const MEMBER_FAULTS: readonly FaultKind[] = [wipe, rollback];
