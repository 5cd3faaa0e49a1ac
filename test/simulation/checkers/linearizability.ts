/**
 * Whether a history is linearizable: one search for each key, because a history is
 * linearizable exactly if that of each object is (Herlihy & Wing 1990). Operations on
 * several keys have no place in it. How it searches: `linearizability-search.ts`.
 */
import { CheckFailed } from './check-failed.ts';
import type { Operation } from './call-list.ts';
import { againstRank } from './rank-order.ts';
import { LinearizabilitySearch, type Model, type Stuck } from './linearizability-search.ts';

export type { Operation } from './call-list.ts';
export type { Model } from './linearizability-search.ts';

export interface KeyedOperation extends Operation {
  readonly key: string;
}

/** Operations that cannot be in one linearizable history, whatever the others. */
export interface Contradiction<O> {
  readonly what: string;
  readonly operations: readonly O[];
}

/** A model that can also be read. */
export interface ShownModel<S, O> extends Model<S, O> {
  /** Asked before the search, which may take long to find the same. */
  contradiction?(operations: readonly O[]): Contradiction<O> | undefined;
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
  let unknown: { readonly key: string; readonly message: string } | undefined;
  for (const [key, ofKey] of Map.groupBy(operations, (operation) => operation.key)) {
    const model = modelOf(ofKey);
    const name = `key ${JSON.stringify(key)}`;
    const contradiction = contradictionOf(model, ofKey);
    if (contradiction !== undefined)
      return { verdict: 'violation', steps, key, message: `${name} is not linearizable: ${contradiction}` };
    const search = new LinearizabilitySearch(model, ofKey, maxSteps);
    const found = search.run();
    steps += search.steps;
    if (found === true) continue;
    const message = explained(model, ofKey, search.stuck);
    if (found === false)
      return { verdict: 'violation', steps, key, message: `${name} is not linearizable: ${message}` };
    unknown ??= { key, message: `${name} was not decided in ${search.steps} steps; ${message}` };
  }
  return unknown === undefined ? { verdict: 'ok', steps } : { verdict: 'unknown', steps, ...unknown };
}

/** Throws unless the verdict is ok. */
export function requireLinearizable(verdict: Verdict): void {
  if (verdict.verdict !== 'ok') throw new CheckFailed('linearizability', verdict.message);
}

function contradictionOf<S, O extends Operation>(
  model: ShownModel<S, O>,
  operations: readonly O[],
): string | undefined {
  const show = (list: readonly O[]) =>
    list.map((operation) => `\n  ${model.showOperation(operation)}`).join('');
  const pair = againstRank(operations, (operation) => model.rank?.(operation));
  if (pair !== undefined)
    return `the second was called after the first had returned, but must come before it:${show(pair)}`;
  const found = model.contradiction?.(operations);
  return found && `${found.what}:${show(found.operations.slice(0, SHOWN))}`;
}

/**
 * The search by rank stops early, where a later operation would have had to come first.
 * Without ranks it gets as far as time allows, which is what a reader expects to see.
 */
function explained<S, O extends Operation>(
  model: ShownModel<S, O>,
  operations: readonly O[],
  ranked: Stuck<S, O> | undefined,
): string {
  const { rank: _, ...plain } = model;
  const search = new LinearizabilitySearch(plain, operations, EXPLAINING_STEPS);
  if (search.run() === true) return 'without ranks it is: the model contradicts itself';
  const furthest = search.stuck ?? ranked;
  return furthest === undefined ? 'the search was never stuck' : told(model, operations, furthest);
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
