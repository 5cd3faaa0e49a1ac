/**
 * Watches who leads which group: no two in one term, and how often it changes; and that no
 * replica goes back behind what it had applied or, after a restart, stored.
 */
import type { Engine } from '../../../node/main/engine.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import { replicasOf } from './open-member.ts';
import { isUp } from './fault.ts';
import type { WorldNode } from './world-node.ts';

export class LeaderWatch {
  readonly #nodes: readonly WorldNode[];
  /** By group: the greatest term that anybody was seen to lead, and who. */
  readonly #latest = new Map<number, { term: number; node: WorldNode }>();
  readonly #progress = new Map<string, { engine: Engine; applied: number; stored: number }>();
  changes = 0;

  constructor(nodes: readonly WorldNode[]) {
    this.#nodes = nodes;
  }

  /** Nodes that are up and were the last to be seen to lead some group. */
  leading(): WorldNode[] {
    const nodes = new Set([...this.#latest.values()].map(({ node }) => node));
    return this.#nodes.filter((node) => isUp(node) && nodes.has(node));
  }

  look(): void {
    for (const node of this.#nodes) {
      const { engine } = node;
      if (engine === undefined) continue;
      for (const { group, term, isLeader, appliedIndex } of replicasOf(engine)) {
        if (isLeader) this.#leads(node, group, term);
        // A directory that is emptied, so that the node can be added again, has another id.
        const replica = `${node.name} ${engine.identity.node_id} group ${group}`;
        if (isUp(node) && !node.isDamaged) this.#goesOn(replica, engine, group, appliedIndex);
      }
    }
  }

  #goesOn(replica: string, engine: Engine, group: number, applied: number): void {
    const before = this.#progress.get(replica);
    const least = before === undefined ? 0 : before.engine === engine ? before.applied : before.stored;
    if (applied < least) throw new CheckFailure('applied index', `${replica}: ${applied} after ${least}`);
    this.#progress.set(replica, { engine, applied, stored: engine.rows.stored(group).index });
  }

  #leads(node: WorldNode, group: number, term: number): void {
    const latest = this.#latest.get(group);
    if (latest?.term === term && latest.node !== node) {
      throw new CheckFailure(
        'one leader',
        `${latest.node.name} and ${node.name} lead group ${group} in term ${term}`,
      );
    }
    if (latest !== undefined && latest.term >= term) return;
    this.#latest.set(group, { term, node });
    if (latest !== undefined) this.changes++;
  }
}
