/** Compares the replicas of each group once nothing happens any more: same entries applied, same rows. */
import { crc32 } from 'node:zlib';
import { groupPrefix, prefixEnd } from '../../../node/storage/row-key.ts';
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
  const states = await Promise.all(nodes.map((node) => groupStates(node)));
  for (const [group, rows] of states[0]!) {
    for (const [at, state] of states.entries()) {
      const rest = differingRows(rows, state.get(group) ?? new Map<string, number>());
      if (rest.length === 0) continue;
      const names = `${nodes[0]!.name} and ${nodes[at]!.name}`;
      return `group ${group}: ${rest.length} rows on ${names} differ at one applied index: ${rest.slice(0, 5).join(', ')}`;
    }
  }
  return '';
}

/** The rows that are not the same, as JSON: their names begin with the letter of their family. */
function differingRows(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): string[] {
  const names = new Set([...a.keys(), ...b.keys()]);
  return [...names].filter((name) => a.get(name) !== b.get(name)).map((name) => JSON.stringify(name));
}

/** Checksums of the rows of each group of a node. */
async function groupStates({ engine }: WorldNode): Promise<Map<number, Map<string, number>>> {
  const found = new Map<number, Map<string, number>>();
  for (const { group, generation } of engine!.host.replicas) {
    const prefix = groupPrefix(group, generation);
    const rows = new Map<string, number>();
    let from = prefix;
    for (let more = true; more;) {
      const part = await engine!.rows.range(from, prefixEnd(prefix), ROWS_AT_ONCE);
      for (const [key, content] of part.rows) rows.set(key.slice(prefix.length), crc32(content));
      more = part.more;
      if (part.rows.length > 0) from = `${part.rows.at(-1)![0]}\0`;
    }
    rows.delete(STORED);
    found.set(group, rows);
  }
  return found;
}
