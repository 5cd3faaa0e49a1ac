/** Starts nodes again that are down, as whatever watches processes on a machine does, and mends damaged ones. */
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import type { SimulatedScheduler } from '../../../node/runtime/simulated/simulated-scheduler.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import { hasBeenReplaced, isBackAnew } from './operator-faults.ts';
import type { WorldNode } from './world-node.ts';
import { logUniform } from './world-settings.ts';

const LOOK_MS = 10;

export class Supervisor {
  readonly #nodes: readonly WorldNode[];
  readonly #scheduler: SimulatedScheduler;
  readonly #random: SeededRandom;
  /** When a node that is down is to be started. */
  readonly #due = new Map<WorldNode, number>();
  #isHasty = false;

  constructor(nodes: readonly WorldNode[], scheduler: SimulatedScheduler, random: SeededRandom) {
    this.#nodes = nodes;
    this.#scheduler = scheduler;
    this.#random = random;
  }

  start(): void {
    for (const node of this.#nodes) this.#look(node);
    this.#scheduler.after(LOOK_MS, () => this.start());
  }

  /** From now on everything is started at once. */
  hasten(): void {
    this.#isHasty = true;
    this.#due.clear();
  }

  #look(node: WorldNode): void {
    if (hasBeenReplaced(node, this.#nodes)) node.becomeSpare();
    if (isBackAnew(node, this.#nodes)) node.noteBack();
    const isMendable = node.state === 'refused' && node.damage?.repair !== undefined;
    if (node.state === 'up') this.#onUp(node);
    if (node.state !== 'down' && !isMendable) return;
    const nowMs = this.#scheduler.nowMs();
    let dueMs = this.#due.get(node);
    if (dueMs === undefined) {
      dueMs =
        nowMs + (this.#isHasty ? 0 : logUniform(this.#random, 20, this.#nodes.length > 1 ? 3_000 : 800));
      this.#due.set(node, dueMs);
    }
    if (nowMs < dueMs) return;
    this.#due.delete(node);
    if (isMendable) {
      node.damage!.repair!();
      node.damage = undefined;
    }
    node.start();
  }

  /** What can be mended is damaged where every start looks. */
  #onUp(node: WorldNode): void {
    this.#due.delete(node);
    const { damage, wasWiped } = node;
    const isAnew = damage?.isToBeGivenUp === true && wasWiped;
    if (isAnew || (damage?.repair === undefined && damage?.isToBeGivenUp !== true)) return;
    throw new CheckFailure('damage', `${node.name} came up with damage in its log`);
  }
}
