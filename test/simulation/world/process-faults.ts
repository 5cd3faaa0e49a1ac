/** Faults of processes, machines and clocks. */
import { between } from '../../../client/random.ts';
import { CRASH_POLICIES, during, isUp, someNode, type FaultKind } from './fault.ts';
import type { WorldClient } from './world-client.ts';
import type { WorldNode } from './world-node.ts';
import { logUniform, pick } from './world-settings.ts';

const powerLoss: FaultKind = {
  name: 'power-loss',
  everyMs: [1_500, 8_000],
  inject(scene) {
    const node = someNode(scene, ({ state }) => state !== 'down' && state !== 'refused');
    if (node === undefined) return undefined;
    node.losePower(pick(scene.random, ...CRASH_POLICIES));
    return 'done';
  },
};

const powerLossOfAll: FaultKind = {
  name: 'power-loss-of-all',
  everyMs: [4_000, 15_000],
  inject(scene) {
    if (!scene.nodes.some(isUp)) return undefined;
    for (const node of scene.nodes) {
      if (node.state !== 'refused') node.losePower(pick(scene.random, ...CRASH_POLICIES));
    }
    return 'done';
  },
};

const kill: FaultKind = {
  name: 'kill',
  everyMs: [1_500, 8_000],
  inject(scene) {
    const node = someNode(scene, ({ state }) => state !== 'down' && state !== 'refused');
    if (node === undefined) return undefined;
    node.kill();
    return 'done';
  },
};

/** Between persisting, sending and applying there is always an operation of the disk. */
const crashAtOperation: FaultKind = {
  name: 'crash-at-disk-operation',
  everyMs: [1_500, 8_000],
  inject(scene) {
    const node = someNode(scene, ({ state }) => state === 'up' || state === 'starting');
    if (node === undefined) return undefined;
    const { disk, process } = node;
    const moment = pick(scene.random, 'before', 'torn', 'after');
    disk.crashAt(disk.operations + between(scene.random, 1, 12), moment, () => {
      scene.trace.note(node.name, `reaches its point of crash, ${moment}`);
      crashesReached.set(scene, crashPointsReached(scene) + 1);
      // The disk has ended; the machine follows, outside of the code that used the disk.
      scene.scheduler.after(0, () => {
        if (node.process === process) node.losePower(pick(scene.random, ...CRASH_POLICIES));
      });
    });
    return 'done';
  },
  met: crashPointsReached,
};

const crashesReached = new WeakMap<object, number>();

function crashPointsReached(scene: object): number {
  return crashesReached.get(scene) ?? 0;
}

const orderlyStop: FaultKind = {
  name: 'orderly-stop',
  everyMs: [3_000, 12_000],
  inject(scene) {
    const node = someNode(scene, isUp);
    if (node === undefined) return undefined;
    node.stop();
    return 'done';
  },
};

const pause: FaultKind = {
  name: 'pause',
  everyMs: [1_500, 8_000],
  inject(scene) {
    const node = someNode(scene, (each) => !each.isPaused && (isUp(each) || each.state === 'starting'));
    if (node === undefined) return undefined;
    const { process } = node;
    node.pause();
    const heal = () => {
      if (node.process === process) node.resume();
    };
    return {
      forMs: Math.round(logUniform(scene.random, 100, scene.nodes.length > 1 ? 12_000 : 3_000)),
      heal,
    };
  },
};

const pauseClient: FaultKind = {
  name: 'pause-client',
  everyMs: [2_000, 10_000],
  inject(scene) {
    const client = pick(scene.random, ...scene.clients);
    if (client.isPaused) return undefined;
    client.pause();
    scene.trace.note(client.name, 'is paused');
    return { forMs: during(scene, 100, 4_000), heal: () => client.resume() };
  },
};

const clockStep: FaultKind = {
  name: 'clock-step',
  everyMs: [1_500, 8_000],
  inject(scene) {
    const { clock, name } = pick<WorldNode | WorldClient>(scene.random, ...scene.nodes, ...scene.clients);
    const byMs = Math.round(logUniform(scene.random, 5, 10_000)) * pick(scene.random, -1, 1);
    clock.jump(byMs);
    scene.trace.note(name, `clock steps by ${byMs} ms`);
    return 'done';
  },
};

const clockDrift: FaultKind = {
  name: 'clock-drift',
  everyMs: [2_000, 10_000],
  inject(scene) {
    const node = pick(scene.random, ...scene.nodes);
    const drift = (scene.random.float() - 0.5) * 0.2;
    node.setDrift(drift);
    scene.trace.note(node.name, `clock drifts by ${drift.toFixed(4)}`);
    return { forMs: during(scene, 1_000, 8_000), heal: () => node.setDrift(0) };
  },
};

export const PROCESS_FAULTS: readonly FaultKind[] = [
  powerLoss,
  powerLossOfAll,
  kill,
  crashAtOperation,
  orderlyStop,
  pause,
  pauseClient,
  clockStep,
  clockDrift,
];
