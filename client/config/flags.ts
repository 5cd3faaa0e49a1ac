import { keyHash } from '../key-hash.ts';
import type { ConfigEntry } from './config-entry.ts';
import type { ConfigView } from './config-view.ts';

/**
 * For whom a feature is switched on: everybody (`true`), nobody (`false`), or those of `allow`,
 * and of the others `percent` of 100, the same ones on every machine and as it grows.
 */
export type FlagRule =
  boolean | { readonly percent?: number | undefined; readonly allow?: readonly string[] | undefined };

/** Who asks: a user, a tenant. */
export type FlagSubject = string;

/**
 * Feature flags: rules as JSON under a prefix of the configuration, seen within a moment of
 * their change. A thin use of `config.view`: a rule that cannot be read leaves the last good one in
 * place, and one that never could counts as not there.
 */
export class Flags implements Disposable {
  readonly #view: ConfigView<Readonly<Record<string, FlagRule>>>;

  /** @internal */
  constructor(view: ConfigView<Readonly<Record<string, FlagRule>>>) {
    this.#view = view;
  }

  /** Whether a feature is on; `otherwise` (default false) when it has no rule. */
  isOn(name: string, subject?: FlagSubject, otherwise = false): boolean {
    const rule = this.#view.get(name);
    if (rule === undefined) return otherwise;
    if (typeof rule === 'boolean') return rule;
    if (subject === undefined) return (rule.percent ?? 0) >= 100;
    if (rule.allow?.includes(subject) === true) return true;
    return shareOf(name, subject) < (rule.percent ?? 0);
  }

  /** All rules. */
  get rules(): Readonly<Record<string, FlagRule>> {
    return this.#view.current;
  }

  /** Calls back when rules have changed. Returns what ends that. */
  onChange(listener: () => void): () => void {
    return this.#view.onChange(() => listener());
  }

  /** Ends it: the rules stay as they are. */
  close(): void {
    this.#view.close();
  }

  /** `close()`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** Where a subject stands for a feature: a number of 0 to 100, by a hash of both. */
function shareOf(name: string, subject: FlagSubject): number {
  return (keyHash(Buffer.from(`${name}\0${subject}`)) / 0x1_0000_0000) * 100;
}

/** Reads a rule; TypeError when it is none. */
export function readFlagRule(entry: ConfigEntry): FlagRule {
  const rule = entry.json();
  if (typeof rule === 'boolean') return rule;
  if (typeof rule !== 'object' || rule === null) throw new TypeError('a rule is true, false or an object');
  const { percent, allow } = rule as { percent?: unknown; allow?: unknown };
  if (percent !== undefined && !(typeof percent === 'number' && percent >= 0 && percent <= 100))
    throw new TypeError('percent is a number of 0 to 100');
  if (allow !== undefined && !(Array.isArray(allow) && allow.every((one) => typeof one === 'string')))
    throw new TypeError('allow is a list of text');
  return rule as FlagRule;
}
