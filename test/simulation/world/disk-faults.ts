/** Faults of disks, and damage to what lies on them. */
import { between } from '../../../client/random.ts';
import type { DiskFault } from '../../../node/runtime/simulated/disk-faults.ts';
import { during, isUp, someNode, type FaultKind, type FaultScene } from './fault.ts';
import { canBeLost } from './member-faults.ts';
import { ROOMY_BYTES, type WorldNode } from './world-node.ts';
import { logUniform, pick } from './world-settings.ts';

const slowDisk: FaultKind = {
  name: 'slow-disk',
  everyMs: [2_000, 10_000],
  inject(scene) {
    const node = someNode(scene, ({ disk }) => disk.conditions.slowdown === 1);
    if (node === undefined) return undefined;
    node.disk.conditions.slowdown = Math.round(logUniform(scene.random, 5, 150));
    scene.trace.note(node.name, `disk is slower by ${node.disk.conditions.slowdown}`);
    return { forMs: during(scene, 200, 4_000), heal: () => void (node.disk.conditions.slowdown = 1) };
  },
};

/** An operation that fails; the process that meets it has to end. */
function failing(operation: 'sync' | 'write'): FaultKind {
  return {
    name: `failed-${operation}`,
    everyMs: [2_500, 12_000],
    inject(scene) {
      const node = someNode(scene, isUp);
      if (node === undefined) return undefined;
      const fault: DiskFault = {
        operation,
        matches: (path) => path.startsWith('log/'),
        data: pick(scene.random, 'lost', 'kept', 'seeded'),
      };
      node.disk.faults.add(fault);
      scene.trace.note(node.name, `its next ${operation} is to fail`);
      return 'done';
    },
    met: ({ nodes }) => nodes.reduce((sum, { disk }) => sum + disk.injections.of(`fail-${operation}`), 0),
  };
}

const failedFlush: FaultKind = {
  name: 'failed-flush',
  everyMs: [4_000, 15_000],
  inject(scene) {
    const node = someNode(scene, (each) => isUp(each) && each.store !== undefined);
    if (node === undefined) return undefined;
    node.store!.failNextBatch('EIO', scene.random.chance(0.5));
    return 'done';
  },
  met: ({ nodes }) => nodes.reduce((sum, { medium }) => sum + medium.injections.of('fail-batch'), 0),
};

/** Writes that grow data are to be refused, and to come back by themselves. */
const lowSpace: FaultKind = {
  name: 'low-space',
  everyMs: [3_000, 12_000],
  inject: (scene) => fill(scene, (node) => Math.round((node.engine?.space.floorBytes ?? 0) * 0.8)),
};

/** Nothing at all can be written: the process may end, and has to be able to come back. */
const fullDisk: FaultKind = {
  name: 'full-disk',
  everyMs: [4_000, 15_000],
  inject: (scene) => fill(scene, () => between(scene.random, 0, 20_000)),
};

function fill(scene: FaultScene, left: (node: WorldNode) => number) {
  const node = someNode(scene, (each) => isUp(each) && each.disk.conditions.capacityBytes === ROOMY_BYTES);
  if (node === undefined) return undefined;
  const leftBytes = left(node);
  node.isFull = true;
  node.disk.conditions.capacityBytes = usedBytes(node) + leftBytes;
  scene.trace.note(node.name, `has ${leftBytes} bytes of disk left`);
  const heal = () => {
    node.disk.conditions.capacityBytes = ROOMY_BYTES;
    scene.trace.note(node.name, 'has disk again');
  };
  return { forMs: during(scene, 300, 1_500), heal };
}

function usedBytes({ disk }: WorldNode): number {
  return disk.paths().reduce((sum, path) => sum + disk.peek(path).length, 0);
}

/** A bit of the log turns over while the node is down. It is turned back some time after the node refused to start, or the node begins anew. */
const flippedBit: FaultKind = {
  name: 'flipped-bit',
  everyMs: [4_000, 15_000],
  inject: (scene) =>
    damage(scene, 'a flipped bit', (content, used) => {
      let at = Math.floor(scene.random.float() * used);
      while (content[at] === 0) at++; // zeros may lie between two batches, where nobody looks
      content[at]! ^= 1 << between(scene.random, 0, 7);
    }),
};

/** A part of the log reads as zeros. */
const hole: FaultKind = {
  name: 'hole',
  everyMs: [4_000, 15_000],
  inject: (scene) =>
    damage(scene, 'a hole', (content, used) => {
      // Not the end: what is missing there may be a torn last write.
      const start = Math.floor((scene.random.float() * used) / 2 / 4096) * 4096;
      content.fill(0, start, start + 4096);
    }),
};

function damage(
  scene: FaultScene,
  what: string,
  change: (content: Uint8Array, used: number) => void,
): 'done' | undefined {
  const node = someNode(scene, (each) => isUp(each) && !each.isDamaged && usedSegments(each).length > 1);
  if (node === undefined) return undefined;
  const mayLose = canBeLost(scene, node);
  node.kill();
  // Of the newest segment the end may be a write that was under way, and torn by right.
  const whole = usedSegments(node).slice(0, -1);
  if (whole.length === 0) return undefined; // the newest went with the process
  const path = pick(scene.random, ...whole);
  const before = node.disk.peek(path);
  const after = before.slice();
  change(after, usedLength(before));
  if (Buffer.compare(before, after) === 0) return undefined;
  node.disk.replace(path, after);
  const isToBeGivenUp = mayLose && scene.random.chance(0.5);
  node.damage = isToBeGivenUp
    ? { repair: undefined, isToBeGivenUp }
    : { repair: () => node.disk.replace(path, before) };
  scene.trace.note(node.name, `${what} in ${path}${isToBeGivenUp ? ', for good' : ''}`);
  return 'done';
}

function usedSegments({ disk }: WorldNode): string[] {
  const segments = disk.paths().filter((path) => path.startsWith('log/') && path.endsWith('.seg'));
  return segments.filter((path) => disk.peek(path, 64).some((byte) => byte !== 0));
}

function usedLength(content: Uint8Array): number {
  let length = content.length;
  while (length > 0 && content[length - 1] === 0) length--;
  return length;
}

export const DISK_FAULTS: readonly FaultKind[] = [
  slowDisk,
  failing('sync'),
  failing('write'),
  failedFlush,
  lowSpace,
  fullDisk,
  flippedBit,
  hole,
];
