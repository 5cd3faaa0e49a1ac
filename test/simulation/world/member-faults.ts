/**
 * Faults that only a cluster survives: a node whose data is gone or is that of an earlier
 * time. Such a node must not vote as the member that it was: emptied, it is taken in as a new
 * one by itself. Never of a majority.
 *
 * That data is gone everybody notices. That it is earlier only those can who remember what
 * the node promised since: so nobody else has restarted since the copy was made, and nothing
 * keeps them from the node while it comes back. More is not promised.
 */
import type { DiskImage } from '../../../node/runtime/simulated/simulated-disk.ts';
import { newestMembers } from './operator-faults.ts';
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
    node.wasWiped = true;
    node.lostReplica = node.replica;
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
    if (node === undefined || copy === undefined || !isRemembered(scene, node, copy)) {
      for (const each of scene.nodes) if (isUp(each)) copies.set(each, copyOf(scene, each));
      return undefined;
    }
    for (const each of scene.nodes) copies.delete(each);
    node.mustBeRefused = sequenceOf(node) > copy.sequence + TALKED_OF;
    node.kill();
    node.disk.restore(copy.image);
    node.medium.rows = copy.rows;
    scene.quiet(BACK_MS);
    lost(scene, node, 'its directory is an earlier one');
    node.start();
    return 'done';
  },
};

/** Files and store at one moment. */
interface Copy {
  readonly image: DiskImage;
  readonly rows: WorldNode['medium']['rows'];
  /** Records in its log. */
  readonly sequence: number;
  /** How often each node had started. */
  readonly starts: ReadonlyMap<WorldNode, number>;
}

/** Copies that an operator made. */
const copies = new WeakMap<WorldNode, Copy>();
/** A node is back after this long, and has been told what others remember. */
const BACK_MS = 2_500;
/** A node that has written so many records has told somebody of some of them. */
const TALKED_OF = 50;

function copyOf({ nodes }: FaultScene, node: WorldNode): Copy {
  const { disk, medium } = node;
  const starts = new Map(nodes.map((each) => [each, each.starts]));
  return { image: disk.snapshot(), rows: medium.rows, sequence: sequenceOf(node), starts };
}

function sequenceOf({ engine }: WorldNode): number {
  return engine?.log.lastSequence ?? 0;
}

function isRemembered(scene: FaultScene, node: WorldNode, { starts }: Copy): boolean {
  const others = scene.nodes.filter((each) => each !== node);
  return others.every((each) => isUp(each) && each.starts === starts.get(each));
}

function damageable(scene: FaultScene): WorldNode | undefined {
  return someNode(scene, (node) => isUp(node) && !node.isDamaged && canBeLost(scene, node));
}

/** Whether the others can go on for good without what a node holds. */
export function canBeLost(scene: FaultScene, { replica }: WorldNode): boolean {
  if (scene.nodes.length < 3 || !scene.mayDamage()) return false;
  // Whoever leaves would wait for a member that is lost, until an operator replaces that.
  if (scene.nodes.some(({ mayBeRemoved }) => mayBeRemoved)) return false;
  const active = newestMembers(scene.nodes).filter(({ state }) => state === 'active');
  return active.some(({ id }) => id === replica);
}

function lost(scene: FaultScene, node: WorldNode, what: string): 'done' {
  node.damage = { repair: undefined };
  scene.trace.note(node.name, what);
  return 'done';
}

export const MEMBER_FAULTS: readonly FaultKind[] = [wipe, rollback];
