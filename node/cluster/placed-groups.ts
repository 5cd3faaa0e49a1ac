/** The groups of all keyspaces, with where their replicas are to be and are. */
import type { GroupPlacements } from './group-placements.ts';
import type { PlacedGroup } from './placement-targets.ts';

/** A group as its keyspace was created. */
export interface FirstPlacement extends Omit<PlacedGroup, 'target'> {
  readonly firstReplicas: readonly number[];
}

/** A group and who holds it. */
export interface HeldGroup extends PlacedGroup {
  /** Who votes or follows in it, by its leader's last word. */
  readonly holders: readonly number[];
}

/** Every group but group 0. */
export function heldGroups(first: Iterable<FirstPlacement>, placements: GroupPlacements): HeldGroup[] {
  return [...first].map((one) => {
    const { index, voters, learners } = placements.of(one.group);
    const holders = index === 0 ? one.firstReplicas : [...voters, ...learners];
    return { ...one, target: targetOf(one, placements), holders };
  });
}

/** Who is to hold a group. */
export function targetOf(
  { group, firstReplicas }: Pick<FirstPlacement, 'group' | 'firstReplicas'>,
  placements: GroupPlacements,
): readonly number[] {
  const { target } = placements.of(group);
  return target.length === 0 ? firstReplicas : target;
}

/** Whether a member holds, or is to hold, a replica of any group. */
export function isHolding(groups: readonly HeldGroup[], id: number): boolean {
  return groups.some(({ target, holders }) => target.includes(id) || holders.includes(id));
}

/** Whether a group's replicas are on their way. */
export function isMoving({ target, holders }: HeldGroup): boolean {
  return target.length !== holders.length || !target.every((id) => holders.includes(id));
}
