/**
 * Which nodes hold the replicas of new partitions: for each the first distinct nodes
 * clockwise from its arc, passing over those that hold their share already ("Consistent
 * Hashing with Bounded Loads", Mirrokni, Thorup and Zadimoghaddam, 2018). Pure.
 */
import type { Member } from '../raft/members.ts';
import { Ring } from './ring.ts';

export interface PlacementInput {
  /** The nodes that may hold replicas. */
  readonly members: readonly Pick<Member, 'id' | 'name'>[];
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
  let total = [...load.values()].reduce((sum, each) => sum + each, 0);
  return arcs.map((arc) => {
    total += copies;
    const clockwise = ring.from(arc).map((name) => idOf.get(name)!);
    const chosen = choose(clockwise, copies, total / members.length, load);
    const leader = chosen.reduce((best, id) => (leads.get(id)! < leads.get(best)! ? id : best));
    const replicas = [leader, ...chosen.filter((id) => id !== leader)];
    count(replicas, load, leads);
    return replicas;
  });
}

/**
 * The first nodes clockwise that hold no more than the mean; before them those that are far
 * below it, and for want of others, behind them those above it, the least loaded first.
 */
function choose(
  clockwise: readonly number[],
  copies: number,
  mean: number,
  load: ReadonlyMap<number, number>,
): number[] {
  const rank = (id: number) => {
    const own = load.get(id)!;
    if (own < mean - 1.5) return -1;
    return own <= mean ? 0 : own - mean;
  };
  return [...clockwise].sort((a, b) => rank(a) - rank(b)).slice(0, copies);
}

function count(replicas: readonly number[], load: Map<number, number>, leads: Map<number, number>): void {
  for (const id of replicas) load.set(id, (load.get(id) ?? 0) + 1);
  const [leader] = replicas;
  if (leader !== undefined) leads.set(leader, (leads.get(leader) ?? 0) + 1);
}
