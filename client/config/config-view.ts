import { sleep } from '../clock.ts';
import { cancelled, type ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { keyOfBytes } from '../key-text.ts';
import type { CallOptions } from '../keyspace-options.ts';
import { retryDelayMs } from '../retry.ts';
import { asHoldfastError } from '../unary.ts';
import { type Key, keyBytes } from '../values.ts';
import type { ConfigEntry } from './config-entry.ts';
import type { ConfigEvent } from './config-event.ts';
import type { ConfigWatch } from './config-watch.ts';
import type { ConfigList } from './config-options.ts';
import { badValue, isStandard, readValue, type ValueSchema } from './value-schema.ts';

/** One schema for each name; others are passed over. */
export type ViewShape = Readonly<Record<string, ValueSchema<unknown>>>;

/** What a view of a shape holds. */
export type ShapedValues<S extends ViewShape> = {
  readonly [N in keyof S]?: S[N] extends ValueSchema<infer T> ? T : never;
};

/** One change of a view. */
export interface ViewChange<V, N extends keyof V = keyof V> {
  /** The key without the prefix. */
  readonly name: N;
  /** What it is now; undefined: it is no more. */
  readonly value: V[N] | undefined;
  readonly previous: V[N] | undefined;
  readonly revision: bigint;
}

/** Options of `view`. */
export interface ViewOptions extends CallOptions {
  /**
   * Told of each value that is not right, and stays at the last one that was; and of the error that
   * ends the view, if one does. Default: nobody.
   */
  onError?: ((error: HoldfastError, entry: ConfigEntry | undefined) => void) | undefined;
}

/** What a view needs of the configuration. */
export interface ViewSource {
  list(prefix: Key, options: CallOptions): Promise<ConfigList>;
  watch(prefix: Key, from: bigint): ConfigWatch;
}

/**
 * The values under a prefix, kept up to date by a watch. All changes of a revision are seen
 * together. A value that the schema refuses leaves the last good one in place and is told to
 * `onError`; a key that never had a good one is not there.
 */
export class ConfigView<V extends object> implements Disposable {
  readonly #core: ClientCore;
  readonly #source: ViewSource;
  readonly #prefix: Key;
  readonly #prefixLength: number;
  readonly #schemaOf: (name: string) => ValueSchema<unknown> | undefined;
  readonly #onError: NonNullable<ViewOptions['onError']>;
  readonly #listeners = new Set<(changes: readonly ViewChange<V>[]) => void>();
  readonly #ending = new AbortController();
  readonly #values = new Map<string, unknown>();
  /** Of each key that is there, good or not: when it was last changed. */
  readonly #revisions = new Map<string, bigint>();
  #current: V | undefined;
  #revision = 0n;
  #watch: ConfigWatch | undefined;

  /** @internal */
  constructor(
    core: ClientCore,
    source: ViewSource,
    prefix: Key,
    schema: ValueSchema<unknown> | ViewShape,
    onError: ViewOptions['onError'],
  ) {
    this.#core = core;
    this.#source = source;
    this.#prefix = prefix;
    this.#prefixLength = keyBytes(prefix).length;
    this.#schemaOf = schemaOf(schema);
    this.#onError = onError ?? (() => undefined);
  }

  /** All values by name, the key without the prefix: the same object until something changes. */
  get current(): Readonly<V> {
    this.#current ??= Object.freeze(Object.fromEntries(this.#values)) as V;
    return this.#current;
  }

  /** Everything up to this revision is seen. */
  get revision(): bigint {
    return this.#revision;
  }

  /** How many values there are. */
  get size(): number {
    return this.#values.size;
  }

  /** Fires when the view is no longer kept up to date: it was closed, or cannot go on. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  get<N extends keyof V & string>(name: N): V[N] | undefined {
    return this.#values.get(name) as V[N] | undefined;
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  entries(): IterableIterator<[string, V[keyof V]]> {
    return this.#values.entries() as IterableIterator<[string, V[keyof V]]>;
  }

  /** Calls back with the changes of one or more revisions, all of each together. Returns what ends that. */
  onChange(listener: (changes: readonly ViewChange<V>[]) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Ends the view, which stays as it is. */
  close(): void {
    this.#watch?.close();
    this.#ending.abort(new HoldfastError({ reason: 'CANCELLED', message: 'the view was closed' }));
  }

  /** `close()`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal Fills it, and keeps it up to date from then on. */
  async open(options: CallOptions): Promise<this> {
    this.#fill(await this.#source.list(this.#prefix, options));
    if (options.signal?.aborted) throw cancelled(options.signal);
    void this.#follow();
    return this;
  }

  async #follow(): Promise<void> {
    this.#watch = this.#source.watch(this.#prefix, this.#revision + 1n);
    try {
      for await (const item of this.#watch) {
        if (item.type === 'changes') this.#apply(item.events, item.revision);
        else if (item.type === 'resync') await this.#reread();
      }
    } catch (cause) {
      const error = asHoldfastError(cause);
      this.#ending.abort(error);
      this.#onError(error, undefined);
    }
  }

  /** What the watch has told meanwhile is passed over by its revision. */
  async #reread(): Promise<void> {
    for (let attempts = 1; !this.signal.aborted; attempts += 1) {
      try {
        this.#fill(await this.#source.list(this.#prefix, {}));
        return;
      } catch (cause) {
        const error = asHoldfastError(cause);
        if (error.reason === 'CLIENT_CLOSED') throw error;
        await sleep(this.#core.clock, retryDelayMs(error, attempts, this.#core.random), this.signal).catch(
          () => undefined,
        );
      }
    }
  }

  #fill({ entries, revision }: ConfigList): void {
    const changes: ViewChange<V>[] = [];
    const gone = new Set(this.#revisions.keys());
    for (const entry of entries) {
      const name = this.#nameOf(entry);
      gone.delete(name);
      if (this.#revisions.get(name) !== entry.modRevision) this.#put(entry, changes);
    }
    for (const name of gone) this.#remove(name, revision, changes);
    this.#told(changes, revision);
  }

  #apply(events: readonly ConfigEvent[], revision: bigint): void {
    const changes: ViewChange<V>[] = [];
    for (const { type, entry } of events) {
      if (entry.modRevision <= this.#revision) continue;
      if (type === 'put') this.#put(entry, changes);
      else this.#remove(this.#nameOf(entry), entry.modRevision, changes);
    }
    this.#told(changes, revision);
  }

  #put(entry: ConfigEntry, changes: ViewChange<V>[]): void {
    const name = this.#nameOf(entry);
    const schema = this.#schemaOf(name);
    if (schema === undefined) return;
    this.#revisions.set(name, entry.modRevision);
    let value: unknown;
    try {
      value = readValue(schema, entry);
    } catch (cause) {
      this.#onError(badValue(entry, cause), entry);
      return;
    }
    const previous = this.#values.get(name);
    this.#values.set(name, value);
    changes.push({ name, value, previous, revision: entry.modRevision } as ViewChange<V>);
  }

  #remove(name: string, revision: bigint, changes: ViewChange<V>[]): void {
    this.#revisions.delete(name);
    if (!this.#values.has(name)) return;
    const previous = this.#values.get(name);
    this.#values.delete(name);
    changes.push({ name, value: undefined, previous, revision } as ViewChange<V>);
  }

  #told(changes: readonly ViewChange<V>[], revision: bigint): void {
    if (revision > this.#revision) this.#revision = revision;
    if (changes.length === 0) return;
    this.#current = undefined;
    for (const listener of this.#listeners) listener(changes);
  }

  /** Names whose bytes are not UTF-8 are written as Latin-1. */
  #nameOf(entry: ConfigEntry): string {
    const name = keyOfBytes(entry.keyBytes.subarray(this.#prefixLength));
    return typeof name === 'string' ? name : Buffer.from(name).toString('latin1');
  }
}

function schemaOf(
  schema: ValueSchema<unknown> | ViewShape,
): (name: string) => ValueSchema<unknown> | undefined {
  if (typeof schema === 'function' || isStandard(schema)) return () => schema;
  return (name) => (Object.hasOwn(schema, name) ? schema[name] : undefined);
}
