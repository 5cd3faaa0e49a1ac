/** Compares the replicas of each group once nothing happens any more: same entries applied, same rows. */
import { crc32 } from 'node:zlib';
import { members, type Configuration } from '../../../node/raft/core/configuration.ts';
import { groupPrefix, prefixEnd } from '../../../node/storage/row-key.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import { replicasOf } from './open-member.ts';
import type { World } from './world.ts';
import type { WorldNode } from './world-node.ts';

/** Between two looks at whether all nodes are still up. */
const LOOK_MS = 10;
const ROWS_AT_ONCE = 1_000;
/** How far the store is: each node's own. */
const STORED = 'i';

/** Waits until all replicas of each group have applied the same entries, then compares their rows. */
export async function compareReplicas(world: World, withinMs: number): Promise<void> {
  const boundMs = world.scheduler.nowMs() + withinMs;
  const isBack = (node: WorldNode) =>
    (node.state === 'up' && isMember(world, node)) || isGone(node) || isOutside(world, node);
  if (!(await world.until(() => world.members().every(({ state }) => state === 'active'), withinMs))) {
    const members = world.members().map(({ name, state }) => `${name} is ${state}`);
    throw new CheckFailure('liveness', `a change of members does not come to its end: ${members.join(', ')}`);
  }
  if (!(await world.until(() => world.nodes.every(isBack), withinMs))) {
    const away = world.nodes.filter((node) => !isBack(node)).map(({ name, state }) => `${name} is ${state}`);
    throw new CheckFailure('liveness', away.join(', '));
  }
  // Who was removed while it was cut off may learn of it, and end, only now; another may be added.
  const taking = () =>
    world.nodes.filter(
      (node) => node.state === 'up' && node.engine?.host.failure === undefined && !isOutside(world, node),
    );
  if (taking().length < 2) return;
  for (let differing = 'not compared'; differing !== '';) {
    const caughtUp = () => lagging(taking()) === undefined;
    if (!(await world.until(caughtUp, boundMs - world.scheduler.nowMs()))) {
      throw new CheckFailure('liveness', `replicas do not catch up: ${lagging(taking())}`);
    }
    const nodes = taking();
    const before = positions(nodes);
    differing = await compared(world, nodes, withinMs);
    // What was applied between two reads is no difference.
    if (positions(nodes) === before && differing !== '') throw new CheckFailure('replicas', differing);
  }
}

/** It lost its data for good. */
function isGone({ state, damage }: WorldNode): boolean {
  return state === 'refused' && damage !== undefined && damage.repair === undefined;
}

/** Who was removed is to end. */
function isMember(world: World, { replica }: WorldNode): boolean {
  return world.members().some(({ id }) => id === replica);
}

/** It is no member, and does not take part. */
function isOutside(world: World, node: WorldNode): boolean {
  if (node.state === 'spare') return true;
  return node.isWaiting && !world.members().some(({ name }) => name === node.name);
}

/** What differs. A node whose disk failed at the last moment ends now: what was being read of it never comes. */
async function compared(world: World, nodes: readonly WorldNode[], withinMs: number): Promise<string> {
  const processes = nodes.map(({ process }) => process);
  const hasEnded = () => nodes.some(({ process }, at) => process !== processes[at]);
  const ended = new Promise<string>((resolve) => {
    const look = () => {
      if (hasEnded()) resolve('a node ended meanwhile');
      else world.scheduler.after(LOOK_MS, look);
    };
    look();
  });
  return world.finish(Promise.race([differences(nodes), ended]), withinMs, 'liveness', 'reading rows');
}

/** The groups and their members, as their leaders have them; a replica that was removed need not know it. */
function membersOfGroups(nodes: readonly WorldNode[]): Map<number, readonly WorldNode[]> {
  const leaders = new Map<number, { term: number; members: readonly number[] }>();
  for (const { engine } of nodes) {
    for (const { group, term, isLeader, core } of engine?.host.replicas ?? []) {
      const known = leaders.get(group);
      if (isLeader && (known === undefined || known.term < term))
        leaders.set(group, { term, members: members(core.configuration) });
    }
  }
  const groups = new Map<number, readonly WorldNode[]>();
  for (const [group, { members: ids }] of leaders)
    groups.set(
      group,
      nodes.filter(({ replica }) => ids.includes(replica)),
    );
  return groups;
}

/** A group whose replicas have not applied the same; undefined: there is none. */
function lagging(nodes: readonly WorldNode[]): string | undefined {
  const groups = membersOfGroups(nodes);
  for (const { name, engine } of nodes) {
    if (engine === undefined) return `${name} is not up`;
    const unled = engine.host.replicas.find(
      ({ group, core }) => !groups.has(group) && mayElect(core.configuration, nodes),
    );
    if (unled !== undefined) return `group ${unled.group} has no leader`;
  }
  for (const [group, holders] of groups) {
    const positions = holders.map(({ engine }) => {
      const replica = engine!.host.replica(group);
      return replica === undefined
        ? 'absent'
        : `${replica.applied.index}/${replica.applied.term} of ${replica.lastIndex}`;
    });
    const first = holders[0]?.engine?.host.replica(group);
    const whole = first && `${first.lastIndex}/${first.applied.term} of ${first.lastIndex}`;
    if (positions.some((position) => position !== whole))
      return `group ${group}: ${holders.map(({ name }, at) => `${name} at ${positions[at]}`).join(', ')}`;
  }
  return undefined;
}

/** Whether a majority of the voters is there: of those that lost their data too many may be in one group. */
function mayElect({ voters, outgoing }: Configuration, nodes: readonly WorldNode[]): boolean {
  const ids = new Set(nodes.map(({ replica }) => replica));
  const isMajorityIn = (set: readonly number[]) => set.filter((id) => ids.has(id)).length > set.length / 2;
  return isMajorityIn(voters) && (outgoing.length === 0 || isMajorityIn(outgoing));
}

function positions(nodes: readonly WorldNode[]): string {
  return JSON.stringify(nodes.map(({ engine }) => engine && replicasOf(engine)));
}

async function differences(nodes: readonly WorldNode[]): Promise<string> {
  for (const [group, holders] of membersOfGroups(nodes)) {
    const states = await Promise.all(holders.map((node) => rowsOf(node, group)));
    for (const [at, state] of states.entries()) {
      const rest = differingRows(states[0]!, state);
      if (rest.length === 0) continue;
      const names = `${holders[0]!.name} and ${holders[at]!.name}`;
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

/** Checksums of the rows of a group on a node. */
async function rowsOf({ engine }: WorldNode, group: number): Promise<Map<string, number>> {
  const prefix = groupPrefix(group, engine!.host.replica(group)!.generation);
  const rows = new Map<string, number>();
  let from = prefix;
  for (let more = true; more;) {
    const part = await engine!.rows.range(from, prefixEnd(prefix), ROWS_AT_ONCE);
    for (const [key, content] of part.rows) rows.set(key.slice(prefix.length), crc32(content));
    more = part.more;
    if (part.rows.length > 0) from = `${part.rows.at(-1)![0]}\0`;
  }
  rows.delete(STORED);
  return rows;
}
