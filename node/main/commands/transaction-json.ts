import type {
  ConfigCondition,
  ConfigOperation,
  ConfigSelection,
  ConfigSortBy,
  ConfigTransaction,
} from '@holdfast/client/config/config-options';
import type { Key, Value } from '@holdfast/client/values';
import { usageFailure } from '../command-failure.ts';
import { keyArgument, type KeyOptions } from './kv-options.ts';

/**
 * The transaction that a text says, in the form of the client's API. What the form does not
 * know is refused, and named by where it stands: a misspelt condition must not be left out.
 */
export function transactionOfJson(text: string, options: KeyOptions): ConfigTransaction {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw usageFailure(`the transaction is not JSON: ${(error as Error).message}. Nothing was written.`);
  }
  return new TransactionReader(options).transaction(new Place('', value));
}

/** A value of the text, and where it stands. */
class Place {
  readonly path: string;
  readonly value: unknown;

  constructor(path: string, value: unknown) {
    this.path = path;
    this.value = value;
  }

  /** A field of an object; undefined: it is not there. */
  field(name: string): Place | undefined {
    const value = (this.value as Record<string, unknown>)[name];
    return value === undefined
      ? undefined
      : new Place(this.path === '' ? name : `${this.path}.${name}`, value);
  }

  /** Refuses what is not an object with these fields alone. */
  object(allowed: readonly string[]): this {
    const { value } = this;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw this.wrong('an object');
    const unknown = Object.keys(value).find((name) => !allowed.includes(name));
    if (unknown === undefined) return this;
    throw usageFailure(
      `${this.#name} has ${JSON.stringify(unknown)}; allowed are ${allowed.join(', ')}. Nothing was written.`,
    );
  }

  /** Which one of these fields is there; refuses none and several. */
  oneOf(names: readonly string[]): string {
    const there = names.filter((name) => this.field(name) !== undefined);
    if (there.length === 1) return there[0]!;
    const has = there.length === 0 ? 'none' : there.join(' and ');
    throw usageFailure(
      `${this.#name} must have one of ${names.join(', ')}, and has ${has}. Nothing was written.`,
    );
  }

  list(): Place[] {
    if (!Array.isArray(this.value)) throw this.wrong('a list');
    return this.value.map((item, index) => new Place(`${this.path}[${index}]`, item));
  }

  text(): string {
    if (typeof this.value === 'string') return this.value;
    throw this.wrong('text');
  }

  truth(): boolean {
    if (typeof this.value === 'boolean') return this.value;
    throw this.wrong('true or false');
  }

  number(): bigint {
    const { value } = this;
    if (Number.isSafeInteger(value) && (value as number) >= 0) return BigInt(value as number);
    if (typeof value === 'string' && /^\d{1,20}$/.test(value)) return BigInt(value);
    throw this.wrong('a whole number from 0 on, as text if it is above 2^53');
  }

  choice<T extends string>(allowed: readonly T[]): T {
    if (allowed.includes(this.value as T)) return this.value as T;
    throw this.wrong(`one of ${allowed.join(' ')}`);
  }

  wrong(allowed: string): Error {
    return usageFailure(`${this.#name} must be ${allowed}. Nothing was written.`);
  }

  get #name(): string {
    return this.path === '' ? 'the transaction' : `${this.path} of the transaction`;
  }
}

const VALUE = ['value', 'value_base64'];
const NUMBERS = ['version', 'createRevision', 'modRevision', 'lease'];
const TARGETS = ['exists', ...VALUE, ...NUMBERS];
const RANGE = ['prefix', 'start', 'end'];
const LIST = ['list', 'limit', 'keysOnly', 'sortBy', 'descending'];
const PUT = ['put', ...VALUE, 'lease', 'ifModRevision', 'ifAbsent', 'keepLease', 'returnPrevious'];
const DELETE = ['delete', 'ifModRevision', 'returnPrevious'];
const FIELDS = { get: ['get'], list: LIST, put: PUT, delete: DELETE, transaction: ['transaction'] };
const SORT_BY = ['key', 'version', 'createRevision', 'modRevision', 'value'] as const;

class TransactionReader {
  readonly #options: KeyOptions;

  constructor(options: KeyOptions) {
    this.#options = options;
  }

  transaction(at: Place): ConfigTransaction {
    at.object(['if', 'then', 'else']);
    const [conditions, then, otherwise] = ['if', 'then', 'else'].map((name) => at.field(name)?.list() ?? []);
    return {
      if: conditions!.map((place) => this.#condition(place)),
      then: then!.map((place) => this.#operation(place)),
      else: otherwise!.map((place) => this.#operation(place)),
    };
  }

  #condition(at: Place): ConfigCondition {
    at.object(['key', ...RANGE, 'is', ...TARGETS]);
    const whom = at.oneOf(['key', 'prefix', 'start']) === 'key' ? this.#oneKey(at) : this.#selection(at);
    const target = at.oneOf(TARGETS);
    const comparator = at.field('is');
    if (target === 'exists') {
      if (comparator !== undefined) throw comparator.wrong('left out beside exists');
      return { ...whom, exists: at.field('exists')!.truth() };
    }
    const is = comparator?.choice(['=', '!=', '<', '>']);
    const wanted = VALUE.includes(target)
      ? { value: this.#value(at) }
      : { [target]: at.field(target)!.number() };
    return { ...whom, is, ...wanted } as ConfigCondition;
  }

  #operation(at: Place): ConfigOperation {
    const all = Object.values(FIELDS).flat();
    const kind = at.object([...new Set(all)]).oneOf(Object.keys(FIELDS)) as keyof typeof FIELDS;
    at.object(FIELDS[kind]);
    const what = at.field(kind)!;
    if (kind === 'get') return { get: this.#key(what) };
    if (kind === 'list') return this.#list(at, what);
    if (kind === 'put') return this.#put(at, what);
    if (kind === 'transaction') return { transaction: this.transaction(what) };
    return {
      delete: typeof what.value === 'string' ? this.#key(what) : this.#selection(what.object(RANGE)),
      ifModRevision: at.field('ifModRevision')?.number(),
      returnPrevious: at.field('returnPrevious')?.truth(),
    };
  }

  #list(at: Place, what: Place): ConfigOperation {
    const limit = at.field('limit')?.number();
    return {
      list: this.#selection(what.object(RANGE)),
      limit: limit === undefined ? undefined : Number(limit),
      keysOnly: at.field('keysOnly')?.truth(),
      sortBy: at.field('sortBy')?.choice<ConfigSortBy>(SORT_BY),
      descending: at.field('descending')?.truth(),
    };
  }

  #put(at: Place, what: Place): ConfigOperation {
    at.oneOf(VALUE);
    return {
      put: this.#key(what),
      value: this.#value(at),
      lease: at.field('lease')?.number(),
      ifModRevision: at.field('ifModRevision')?.number(),
      ifAbsent: at.field('ifAbsent')?.truth(),
      keepLease: at.field('keepLease')?.truth(),
      returnPrevious: at.field('returnPrevious')?.truth(),
    };
  }

  #oneKey(at: Place): { key: Key } {
    return { key: this.#key(at.field('key')!) };
  }

  #selection(at: Place): ConfigSelection {
    const [prefix, end] = [at.field('prefix'), at.field('end')];
    if (at.oneOf(['prefix', 'start']) === 'start')
      return { start: this.#key(at.field('start')!), end: end && this.#key(end) };
    if (end !== undefined) throw end.wrong('left out beside prefix');
    return { prefix: this.#key(prefix!) };
  }

  #key(at: Place): Key {
    return keyArgument(at.text(), this.#options);
  }

  #value(at: Place): Value {
    const base64 = at.field('value_base64');
    if (base64 === undefined) return at.field('value')!.value as Value;
    const text = base64.text();
    const bytes = Buffer.from(text, 'base64');
    if (bytes.toString('base64').replace(/=+$/, '') === text.replace(/=+$/, '')) return bytes;
    throw base64.wrong('base64');
  }
}
