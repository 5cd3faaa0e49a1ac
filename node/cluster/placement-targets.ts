/**
 * Where the replicas of groups are to be, from where they are: as few of them are moved as
 * give every group its replicas on members that stay, in as many zones as there are, and no
 * member more than its share. Pure, and at rest in the end: asked again with its own results, it
 * soon changes nothing.
 */
import { Ring } from './ring.ts';
import { Zones, type ZonedNode } from './zones.ts';

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
  members: readonly ZonedNode[],
  groups: readonly PlacedGroup[],
  isAlive: (id: number) => boolean,
): Map<number, readonly number[]> {
  if (members.length === 0) return new Map();
  const ids = new Set(members.map(({ id }) => id));
  const ring = new Ring(members.map(({ name }) => name));
  const idOf = new Map(members.map(({ id, name }) => [name, id]));
  const zones = new Zones(members);
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
      const present = free.some(isAlive) ? free.filter(isAlive) : free;
      const id = leastLoaded(leastCrowded(present, target, zones), load);
      target.push(id);
      add(id, 1);
    }
  }
  const moves = spread(targets, load, isAlive, zones);
  level(targets, load, isAlive, zones, MOST_MOVES - moves);
  return new Map(
    groups.flatMap(({ group, target }, at) => {
      const next = targets[at]!;
      const isSame = next.length === target.length && next.every((id) => target.includes(id));
      return isSame ? [] : [[group, next] as const];
    }),
  );
}

interface Move {
  readonly target: number[];
  readonly from: number;
  readonly to: number;
}

/** Moves replicas that share a zone to zones where the group has fewer. Returns how many. */
function spread(
  targets: readonly number[][],
  load: Map<number, number>,
  isAlive: (id: number) => boolean,
  zones: Zones,
): number {
  let moves = 0;
  const all = [...load.keys()];
  for (const target of targets) {
    for (let move; moves < MOST_MOVES; moves++) {
      move = findSpread(target, all, load, isAlive, zones);
      if (move === undefined) break;
      carryOut(move, load);
    }
  }
  return moves;
}

function findSpread(
  target: number[],
  all: readonly number[],
  load: ReadonlyMap<number, number>,
  isAlive: (id: number) => boolean,
  zones: Zones,
): Move | undefined {
  const free = all.filter((id) => !target.includes(id) && isAlive(id));
  if (free.length === 0) return undefined;
  const to = leastLoaded(leastCrowded(free, target, zones), load);
  const crowd = (id: number) => zones.countWith(id, target);
  const from = target.reduce((worst, id) => (crowd(id) > crowd(worst) ? id : worst), target[0]!);
  // One of the others there goes: the first is to lead, and moving that costs most.
  const goes = target.findLast((id) => crowd(id) === crowd(from));
  return goes !== undefined && crowd(to) < crowd(goes) - 1 ? { target, from: goes, to } : undefined;
}

/** Moves replicas from whoever holds most to whoever holds least, as long as that makes them more alike. */
function level(
  targets: readonly number[][],
  load: Map<number, number>,
  isAlive: (id: number) => boolean,
  zones: Zones,
  most: number,
): void {
  for (let moves = 0; moves < most; moves++) {
    const byLoad = [...load].sort(([a, x], [b, y]) => x - y || a - b);
    const move = findMove(targets, byLoad, isAlive, zones);
    if (move === undefined) return;
    carryOut(move, load);
  }
}

function carryOut({ target, from, to }: Move, load: Map<number, number>): void {
  target[target.indexOf(from)] = to;
  load.set(from, load.get(from)! - 1);
  load.set(to, load.get(to)! + 1);
}

function findMove(
  targets: readonly number[][],
  byLoad: readonly (readonly [id: number, load: number])[],
  isAlive: (id: number) => boolean,
  zones: Zones,
): Move | undefined {
  for (const [from, most] of [...byLoad].reverse()) {
    for (const [to, least] of byLoad) {
      if (most - least <= TOLERATED) break;
      if (!isAlive(to)) continue;
      const fits = (one: number[]) =>
        one.includes(from) && !one.includes(to) && zones.mayExchange(one, from, to);
      const target = targets.find(fits);
      if (target !== undefined) return { target, from, to };
    }
  }
  return undefined;
}

/** Those in whose zone a group has the fewest replicas. */
function leastCrowded(ids: readonly number[], target: readonly number[], zones: Zones): readonly number[] {
  const fewest = Math.min(...ids.map((id) => zones.countWith(id, target)));
  return ids.filter((id) => zones.countWith(id, target) === fewest);
}

/** Of equally loaded ones the first clockwise. */
function leastLoaded(clockwise: readonly number[], load: ReadonlyMap<number, number>): number {
  return clockwise.reduce((best, id) => (load.get(id)! < load.get(best)! ? id : best));
}
