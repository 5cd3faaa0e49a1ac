/**
 * Whether a history is linearizable: one search for each key, because a history is
 * linearizable exactly if that of each object is (Herlihy & Wing 1990). Operations on
 * several keys have no place in it. How it searches: `linearizability-search.ts`.
 */
import { CheckFailed } from './check-failed.ts';
import type { Operation } from './call-list.ts';
import { LinearizabilitySearch, type Model, type Stuck } from './linearizability-search.ts';

export type { Operation } from './call-list.ts';
export type { Model } from './linearizability-search.ts';

export interface KeyedOperation extends Operation {
  readonly key: string;
}

/** A model that can also be read. */
export interface ShownModel<S, O> extends Model<S, O> {
  showState(state: S): string;
  showOperation(operation: O): string;
}

export interface LinearizabilityOptions {
  /** Steps of the model for one key. Each costs below a microsecond, and about 100 bytes if it leads on. */
  readonly maxSteps?: number;
}

/** `steps`: of the model, over all keys. Unknown is for callers the same as a violation. */
export type Verdict =
  | { readonly verdict: 'ok'; readonly steps: number }
  | { readonly verdict: 'violation'; readonly steps: number; readonly key: string; readonly message: string }
  | { readonly verdict: 'unknown'; readonly steps: number; readonly key: string; readonly message: string };

const MAX_STEPS = 1_000_000;
/** Steps spent on a better explanation. */
const EXPLAINING_STEPS = 100_000;
/** Lines of each part of an explanation. */
const SHOWN = 12;

/** `modelOf` makes the model of a key from all its operations. The first key with a violation decides. */
export function checkLinearizable<S, O extends KeyedOperation>(
  operations: Iterable<O>,
  modelOf: (operations: readonly O[]) => ShownModel<S, O>,
  { maxSteps = MAX_STEPS }: LinearizabilityOptions = {},
): Verdict {
  let steps = 0;
  let unknown: Omit<Extract<Verdict, { verdict: 'unknown' }>, 'steps'> | undefined;
  for (const [key, ofKey] of Map.groupBy(operations, (operation) => operation.key)) {
    const model = modelOf(ofKey);
    const search = new LinearizabilitySearch(model, ofKey, maxSteps);
    const found = search.run();
    steps += search.steps;
    if (found === false) {
      const message = `key ${JSON.stringify(key)} is not linearizable: ${explained(model, ofKey, search.stuck!)}`;
      return { verdict: 'violation', steps, key, message };
    }
    if (found === undefined)
      unknown ??= { verdict: 'unknown', key, message: undecided(key, ofKey, maxSteps) };
  }
  return unknown === undefined ? { verdict: 'ok', steps } : { ...unknown, steps };
}

/** Throws unless the verdict is ok. */
export function requireLinearizable(verdict: Verdict): void {
  if (verdict.verdict !== 'ok') throw new CheckFailed('linearizability', verdict.message);
}

function undecided(key: string, operations: readonly Operation[], maxSteps: number): string {
  const open = operations.filter(({ returned }) => returned === undefined).length;
  const size = `${operations.length} operations, ${open} of them of unknown outcome`;
  return `key ${JSON.stringify(key)}: ${maxSteps} steps did not decide ${size}`;
}

/**
 * The search by rank stops early, where a later operation would have had to come first.
 * Without ranks it gets as far as time allows, which is what a reader expects to see.
 */
function explained<S, O extends Operation>(
  model: ShownModel<S, O>,
  operations: readonly O[],
  ranked: Stuck<S, O>,
): string {
  const plain: Model<S, O> = {
    init: () => model.init(),
    step: (state, operation) => model.step(state, operation),
    key: (state) => model.key(state),
    isRead: (operation) => model.isRead?.(operation) ?? true,
    ...(model.alike && { alike: (operation: O) => model.alike!(operation) }),
  };
  const search = new LinearizabilitySearch(plain, operations, EXPLAINING_STEPS);
  if (search.run() === true) throw new Error('the ranks of the model contradict its steps');
  return told(model, operations, search.stuck ?? ranked);
}

function told<S, O extends Operation>(
  model: ShownModel<S, O>,
  operations: readonly O[],
  { linearized, state, blocked, unused }: Stuck<S, O>,
): string {
  const show = (list: readonly O[]) => list.map((operation) => `  ${model.showOperation(operation)}`);
  const lines = [`${linearized.length} of ${operations.length} operations fit in this order:`];
  if (linearized.length > SHOWN) lines.push(`  … ${linearized.length - SHOWN} before`);
  lines.push(...show(linearized.slice(-SHOWN)));
  lines.push(`which leaves ${model.showState(state)}. One of these has to be next and none can:`);
  lines.push(...show(blocked));
  if (unused.length > 0) lines.push(`even if some of these, of unknown outcome, took effect:`);
  lines.push(...show(unused.slice(-SHOWN)));
  if (unused.length > SHOWN) lines.push(`  … and ${unused.length - SHOWN} called earlier`);
  return lines.join('\n');
}
