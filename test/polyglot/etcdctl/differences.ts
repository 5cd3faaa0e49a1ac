/** Where two plays of the same script differ. */
import { normalised, type Said } from './normalised.ts';
import type { PlayedPart } from './player.ts';

/** One step that did not say the same. */
export interface Difference {
  readonly part: string;
  readonly step: string;
  /** Lines that only one of them said. */
  readonly there: Said;
  readonly here: Said;
}

export function differences(there: readonly PlayedPart[], here: readonly PlayedPart[]): Difference[] {
  return there.flatMap((part, at) => {
    const [one, other] = [normalised(part), normalised(here[at]!)];
    return part.steps.flatMap((step, number) => {
      const [a, b] = [one[number]!, other[number]!];
      if (a.join('\n') === b.join('\n')) return [];
      const difference = { part: part.name, step, there: without(a, b), here: without(b, a) };
      // The same lines in another order.
      if (difference.there.length === 0 && difference.here.length === 0)
        return [{ ...difference, there: a, here: b }];
      return [difference];
    });
  });
}

/** Lines of `some` that are not in `others`, as often as they are not. */
function without(some: Said, others: Said): Said {
  const rest = [...others];
  return some.filter((line) => {
    const at = rest.indexOf(line);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
}
