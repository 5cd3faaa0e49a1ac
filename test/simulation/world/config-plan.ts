/** The keys of the configuration of a run: few, so that callers meet. */
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import type { ConfigSelection } from '../../../client/config/config-options.ts';
import type { KeySpan } from '../../../node/coordination/config-command.ts';
import { pick } from './world-settings.ts';

export const CONFIG_KEYS: readonly string[] = ['app/a', 'app/b', 'app/c', 'lib/a', 'lib/b'];

/** Some of the keys. */
export interface SelectionPlan {
  readonly what: string;
  readonly selection: string | ConfigSelection;
  readonly span: KeySpan;
}

export function somePlan(random: SeededRandom): SelectionPlan {
  const kind = pick(random, 'key', 'prefix', 'range', 'all');
  if (kind === 'key') {
    const key = pick(random, ...CONFIG_KEYS);
    return { what: key, selection: key, span: { start: key, end: `${key}\0` } };
  }
  if (kind === 'prefix') return prefixPlan(pick(random, 'app/', 'lib/'));
  if (kind === 'all')
    return { what: 'all keys', selection: { prefix: '' }, span: { start: '', end: undefined } };
  const span = { start: 'app/b', end: 'lib/b' };
  return { what: 'app/b up to lib/b', selection: span, span };
}

export function prefixPlan(prefix: string): SelectionPlan {
  return {
    what: prefix,
    selection: { prefix },
    span: {
      start: prefix,
      end: `${prefix.slice(0, -1)}${String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)}`,
    },
  };
}

export function isSelected({ start, end }: KeySpan, key: string): boolean {
  return key >= start && (end === undefined || key < end);
}
