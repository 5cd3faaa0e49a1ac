/**
 * Which leadership a node should hand over, so that leaders do not pile up. Pure.
 *
 * Every node says how many groups it leads. A handover goes from a node to one that leads at
 * least two fewer, so each makes the sum of the squares smaller: it comes to an end, and then
 * no two voters of a group are more than one apart.
 */

/** A group that is led here. */
export interface LedGroup {
  readonly group: number;
  readonly voters: readonly number[];
}

/** A leadership to be moved. */
export interface Handover {
  readonly group: number;
  readonly to: number;
}

/**
 * What `self` should hand over next; undefined: nothing. `ledBy`: how many groups a node
 * leads. `mayTake`: whether a voter is well enough, and far enough in a group's log, to lead it.
 */
export function chooseHandover(
  self: number,
  led: readonly LedGroup[],
  ledBy: (node: number) => number,
  mayTake: (group: number, voter: number) => boolean,
): Handover | undefined {
  let best: Handover | undefined;
  let fewest = led.length - 1;
  for (const { group, voters } of led) {
    for (const to of voters) {
      if (to === self || ledBy(to) >= fewest || !mayTake(group, to)) continue;
      best = { group, to };
      fewest = ledBy(to);
    }
  }
  return best;
}
