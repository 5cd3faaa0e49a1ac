/**
 * Where the replicas of groups are to be, from where they are: as few of them are moved as
 * give every group its replicas on members that stay, and no member more than its share. Pure,
 * and at rest in the end: asked again with its own results, it soon changes nothing.
 */
import type { Member } from '../raft/members.ts';
import { Ring } from './ring.ts';

/** Members may differ by so many replicas: to move one costs more than that. */
const TOLERATED = 2;
/** Replicas moved for balance at a time: the search for them holds up everything else. */
const MOST_MOVES = 64;

/** A group to be placed. */
export interface PlacedGroup {
  readonly group: number;
  /** First hash of its arc. */
  readonly arc: number;
  /** Copies that it is to have; fewer where there are fewer members. */
  readonly replication: number;
  /** Who is to hold its replicas so far; the first is to lead. */
  readonly target: readonly number[];
}

/**
 * The groups whose target is to be another. `members`: those that may hold replicas. Nothing
 * is moved to one that is away, unless there is no other.
 */
export function moveTargets(
  members: readonly Pick<Member, 'id' | 'name'>[],
  groups: readonly PlacedGroup[],
  isAlive: (id: number) => boolean,
): Map<number, readonly number[]> {
  if (members.length === 0) return new Map();
  const ids = new Set(members.map(({ id }) => id));
  const ring = new Ring(members.map(({ name }) => name));
  const idOf = new Map(members.map(({ id, name }) => [name, id]));
  const load = new Map([...ids].map((id) => [id, 0]));
  const add = (id: number, by: number) => load.set(id, load.get(id)! + by);
  const targets = groups.map(({ replication, target }) => {
    const kept = target.filter((id) => ids.has(id)).slice(0, Math.min(replication, ids.size));
    for (const id of kept) add(id, 1);
    return kept;
  });
  for (const [at, { arc, replication }] of groups.entries()) {
    const target = targets[at]!;
    while (target.length < Math.min(replication, ids.size)) {
      const clockwise = ring.from(arc).map((name) => idOf.get(name)!);
      const free = clockwise.filter((one) => !target.includes(one));
      const id = leastLoaded(free.some(isAlive) ? free.filter(isAlive) : free, load);
      target.push(id);
      add(id, 1);
    }
  }
  level(targets, load, isAlive);
  return new Map(
    groups.flatMap(({ group, target }, at) => {
      const next = targets[at]!;
      const isSame = next.length === target.length && next.every((id) => target.includes(id));
      return isSame ? [] : [[group, next] as const];
    }),
  );
}

/** Moves replicas from whoever holds most to whoever holds least, as long as that makes them more alike. */
function level(
  targets: readonly number[][],
  load: Map<number, number>,
  isAlive: (id: number) => boolean,
): void {
  for (let moves = 0; moves < MOST_MOVES; moves++) {
    const byLoad = [...load].sort(([a, x], [b, y]) => x - y || a - b);
    const move = findMove(targets, byLoad, isAlive);
    if (move === undefined) return;
    const { target, from, to } = move;
    target[target.indexOf(from)] = to;
    load.set(from, load.get(from)! - 1);
    load.set(to, load.get(to)! + 1);
  }
}

function findMove(
  targets: readonly number[][],
  byLoad: readonly (readonly [id: number, load: number])[],
  isAlive: (id: number) => boolean,
): { target: number[]; from: number; to: number } | undefined {
  for (const [from, most] of [...byLoad].reverse()) {
    for (const [to, least] of byLoad) {
      if (most - least <= TOLERATED) break;
      if (!isAlive(to)) continue;
      const target = targets.find((one) => one.includes(from) && !one.includes(to));
      if (target !== undefined) return { target, from, to };
    }
  }
  return undefined;
}

/** Of equally loaded ones the first clockwise. */
function leastLoaded(clockwise: readonly number[], load: ReadonlyMap<number, number>): number {
  return clockwise.reduce((best, id) => (load.get(id)! < load.get(best)! ? id : best));
}
