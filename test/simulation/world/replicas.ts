/** Compares the replicas of each group once nothing happens any more: same entries applied, same rows. */
import { crc32 } from 'node:zlib';
import { groupPrefix, prefixEnd, binaryBytes } from '../../../node/storage/row-key.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import { replicasOf } from './open-member.ts';
import type { World } from './world.ts';
import type { WorldNode } from './world-node.ts';

const ROWS_AT_ONCE = 1_000;
/** How far the store is: each node's own. */
const STORED = 'i';

/** Waits until all replicas of each group have applied the same entries, then compares their rows. */
export async function compareReplicas(world: World, withinMs: number): Promise<void> {
  const nodes = world.nodes.filter(({ state, isDamaged }) => state === 'up' && !isDamaged);
  if (nodes.length < 2) return;
  const boundMs = world.scheduler.nowMs() + withinMs;
  for (let differing = 'not compared'; differing !== '';) {
    const caughtUp = () => lagging(nodes) === undefined;
    if (!(await world.until(caughtUp, boundMs - world.scheduler.nowMs()))) {
      throw new CheckFailure('liveness', `replicas do not catch up: ${lagging(nodes)}`);
    }
    const before = positions(nodes);
    differing = await world.finish(differences(nodes), withinMs, 'liveness', 'reading rows');
    // What was applied between two reads is no difference.
    if (positions(nodes) === before && differing !== '') throw new CheckFailure('replicas', differing);
  }
}

/** A group whose replicas have not applied the same; undefined: there is none. */
function lagging(nodes: readonly WorldNode[]): string | undefined {
  const first = new Map<number, string>();
  for (const node of nodes) {
    if (node.engine === undefined) return `${node.name} is not up`;
    for (const { group, appliedIndex, appliedTerm, lastIndex } of replicasOf(node.engine)) {
      const at = `${appliedIndex}/${appliedTerm}`;
      if (appliedIndex !== lastIndex || (first.get(group) ?? at) !== at)
        return `group ${group} on ${node.name} at ${at} of ${lastIndex}, elsewhere ${first.get(group)}`;
      first.set(group, at);
    }
  }
  return undefined;
}

function positions(nodes: readonly WorldNode[]): string {
  return JSON.stringify(nodes.map(({ engine }) => engine && replicasOf(engine)));
}

async function differences(nodes: readonly WorldNode[]): Promise<string> {
  const states = await Promise.all(nodes.map((node) => hashes(node)));
  for (const [group, hash] of states[0]!) {
    for (const [at, state] of states.entries()) {
      if (state.get(group) !== hash)
        return `group ${group}: rows on ${nodes[0]!.name} and ${nodes[at]!.name} differ at one applied index`;
    }
  }
  return '';
}

/** A hash over the rows of each group of a node. */
async function hashes({ engine }: WorldNode): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for (const { group, generation } of engine!.host.replicas) {
    const prefix = groupPrefix(group, generation);
    let from = prefix;
    let hash = 0;
    let count = 0;
    for (let more = true; more;) {
      const part = await engine!.rows.range(from, prefixEnd(prefix), ROWS_AT_ONCE);
      for (const [key, content] of part.rows) {
        const rest = key.slice(prefix.length);
        if (rest === STORED) continue;
        hash = crc32(content, crc32(binaryBytes(rest), hash));
        count++;
      }
      more = part.more;
      if (part.rows.length > 0) from = `${part.rows.at(-1)![0]}\0`;
    }
    found.set(group, `${count} rows, ${hash}`);
  }
  return found;
}
