/**
 * What whoever leads group 0 is to do next about a change of members, and for the balance of
 * replicas. Pure: made from what the tree and group 0 say, so that a crash at any moment costs
 * nothing but time.
 *
 *  1. A member that joins is active once it votes in group 0, and the one in whose place it
 *     comes does not; nothing is moved to it before.
 *  2. A member that leaves goes out of group 0 when it holds no other group any more: until
 *     then it has to hear of what is moved. One that is replaced is gone, and goes at once.
 *  3. Its row is dropped when it is in no configuration.
 */
import type { Configuration } from '../raft/core/configuration.ts';
import { withActive, withoutRow } from './member-change.ts';
import type { ClusterMember, MemberTable } from './membership.ts';
import { isHolding, type HeldGroup } from './placed-groups.ts';
import { moveTargets } from './placement-targets.ts';

/** What is to be written, all at once. */
export interface ClusterTask {
  /** Undefined: as it is. */
  readonly table?: MemberTable;
  /** Who is to hold groups from now on; of the others, who is to so far. */
  readonly targets: ReadonlyMap<number, readonly number[]>;
}

/** The next task; undefined: all is done, or has to come first elsewhere. */
export function nextTask(
  table: MemberTable,
  coordination: Configuration,
  groups: readonly HeldGroup[],
  isAlive: (id: number) => boolean,
): ClusterTask | undefined {
  const joining = table.members.find(({ state }) => state === 'joining');
  if (joining !== undefined) {
    if (!isSettledIn(coordination, joining)) return undefined;
    const next = withActive(table, joining.id);
    return { table: next, targets: targetsIn(next, groups, isAlive) };
  }
  const targets = targetsIn(table, groups, isAlive);
  if (targets.size > 0) return { targets };
  const gone = table.members.find((member) => hasLeft(member, coordination, groups));
  return gone && { table: withoutRow(table, gone.id), targets };
}

function targetsIn({ members }: MemberTable, groups: readonly HeldGroup[], isAlive: (id: number) => boolean) {
  const eligible = members.filter(({ state }) => state === 'active');
  return moveTargets(eligible, groups, isAlive);
}

/** Who is to vote in group 0. Invariant 2. */
export function coordinationTarget({ members }: MemberTable, groups: readonly HeldGroup[]): number[] {
  const replaced = members.map(({ replaces }) => replaces);
  const stays = ({ id, state }: ClusterMember) =>
    state !== 'leaving' || (!replaced.includes(id) && isHolding(groups, id));
  return members.filter(stays).map(({ id }) => id);
}

/** Invariant 1. */
function isSettledIn({ voters, outgoing }: Configuration, { id, replaces }: ClusterMember): boolean {
  return outgoing.length === 0 && voters.includes(id) && !voters.includes(replaces);
}

/** Invariant 3. */
function hasLeft(
  { id, state }: ClusterMember,
  { voters, outgoing, learners }: Configuration,
  groups: readonly HeldGroup[],
): boolean {
  const isIn = [...voters, ...outgoing, ...learners].includes(id);
  return state === 'leaving' && !isIn && !isHolding(groups, id);
}
