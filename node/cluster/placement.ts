/**
 * Which nodes hold the replicas of new partitions: for each the first distinct nodes
 * clockwise from its arc, of distinct zones as long as there are others, passing over those that
 * hold their share already ("Consistent Hashing with Bounded Loads", Mirrokni, Thorup and
 * Zadimoghaddam, 2018). Pure.
 */
import { Ring } from './ring.ts';
import { Zones, type ZonedNode } from './zones.ts';

export interface PlacementInput {
  /** The nodes that may hold replicas. */
  readonly members: readonly ZonedNode[];
  /** First hashes of the arcs of the partitions. */
  readonly arcs: readonly number[];
  /** Replicas of each; fewer where there are fewer nodes. */
  readonly replication: number;
  /** The replicas that nodes hold already, by partition; the first of each is to lead. */
  readonly held: readonly (readonly number[])[];
}

/**
 * The replicas of each partition, by numbers of nodes. The first of each is the one that
 * should lead it: leaderships are as even as the replicas allow.
 */
export function placeReplicas({ members, arcs, replication, held }: PlacementInput): number[][] {
  const ring = new Ring(members.map(({ name }) => name));
  const idOf = new Map(members.map(({ id, name }) => [name, id]));
  const load = new Map(members.map(({ id }) => [id, 0]));
  const leads = new Map(members.map(({ id }) => [id, 0]));
  for (const replicas of held) count(replicas, load, leads);
  const copies = Math.min(replication, members.length);
  const zones = new Zones(members);
  const placed = countCopies(held, members);
  return arcs.map((arc) => {
    placed.set(copies, (placed.get(copies) ?? 0) + 1);
    const clockwise = ring.from(arc).map((name) => idOf.get(name)!);
    const chosen = choose({ clockwise, copies, shares: zones.shares(placed), load, zones });
    const leader = chosen.reduce((best, id) => (leads.get(id)! < leads.get(best)! ? id : best));
    const replicas = [leader, ...chosen.filter((id) => id !== leader)];
    count(replicas, load, leads);
    return replicas;
  });
}

/** How many groups have so many copies on these members. */
function countCopies(held: PlacementInput['held'], members: readonly ZonedNode[]): Map<number, number> {
  const ids = new Set(members.map(({ id }) => id));
  const groups = new Map<number, number>();
  for (const replicas of held) {
    const copies = replicas.filter((id) => ids.has(id)).length;
    groups.set(copies, (groups.get(copies) ?? 0) + 1);
  }
  return groups;
}

interface Choice {
  readonly clockwise: readonly number[];
  readonly copies: number;
  /** What each is to hold at most. */
  readonly shares: ReadonlyMap<number, number>;
  readonly load: ReadonlyMap<number, number>;
  readonly zones: Zones;
}

/**
 * The first nodes clockwise that hold no more than their share; before them those that are far
 * below it, and for want of others, behind them those above it, the least loaded first. Before
 * all that, those in whose zone there are fewer.
 */
function choose({ clockwise, copies, shares, load, zones }: Choice): number[] {
  const rank = (id: number) => {
    const over = load.get(id)! - shares.get(id)!;
    if (over < -1.5) return -1;
    return over <= 0 ? 0 : over;
  };
  const left = [...clockwise].sort((a, b) => rank(a) - rank(b));
  const chosen: number[] = [];
  while (chosen.length < copies) {
    const crowd = left.map((id) => zones.countWith(id, chosen));
    chosen.push(...left.splice(crowd.indexOf(Math.min(...crowd)), 1));
  }
  return chosen;
}

function count(replicas: readonly number[], load: Map<number, number>, leads: Map<number, number>): void {
  for (const id of replicas) load.set(id, (load.get(id) ?? 0) + 1);
  const [leader] = replicas;
  if (leader !== undefined) leads.set(leader, (leads.get(leader) ?? 0) + 1);
}
