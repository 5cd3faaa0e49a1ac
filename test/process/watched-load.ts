/**
 * Writers of the configuration and watchers of it on real nodes, and what has to be true of what
 * the watchers were told: every change of what they follow, in order, once, whole revisions, from
 * where they began to where they are.
 */
import type {
  ConfigEvent,
  ConfigSelection,
  ConfigWatch,
  ConfigWatchOptions,
  Holdfast,
} from '@holdfast/client';
import { expect } from 'vitest';
import { until } from './real-node.ts';

const KEYS = 8;
const THINK_MS = 5;
/** Of a call of a writer: short, so that none waits out a whole fault. */
const CALL_MS = 2_000;
/** As of so many revisions the tree is compared. */
const TREES = 20;

/** What somebody follows. */
export interface Following {
  readonly title: string;
  readonly selection: string | ConfigSelection;
  readonly options?: ConfigWatchOptions;
  /** Ends and begins again at its position, after so many items. */
  readonly hopsAfter?: number;
}

interface Acknowledged {
  readonly revision: bigint;
  readonly keys: readonly string[];
  readonly value: string | undefined;
}

interface Told {
  readonly revision: bigint;
  readonly key: string;
  readonly type: 'put' | 'delete';
  readonly value: string;
  readonly previous: string | undefined;
}

export class WatchedLoad {
  readonly #writers: readonly Holdfast[];
  readonly #prefix: string;
  readonly #acknowledged: Acknowledged[] = [];
  readonly #watchers: Watcher[] = [];
  readonly #running: Promise<void>[] = [];
  readonly #compactions: bigint[] = [];
  #isOver = false;
  #turn = 0;
  failed = 0;

  constructor(writers: readonly Holdfast[], prefix: string) {
    this.#writers = writers;
    this.#prefix = prefix;
    for (const writer of writers) this.#running.push(this.#write(writer));
  }

  /** A key that is not written before the end. */
  get #restingKey(): string {
    return `${this.#prefix}resting`;
  }

  get written(): number {
    return this.#acknowledged.length;
  }

  /** Waits for so many more acknowledged writes. */
  async progress(count: number): Promise<void> {
    const from = this.written;
    await until(
      () => this.written >= from + count,
      60_000,
      () => `${this.written - from} of ${count} writes in a minute`,
    );
  }

  async follow(clients: readonly Holdfast[], following: Following): Promise<Watcher> {
    const watcher = new Watcher(clients, following);
    this.#watchers.push(watcher);
    await watcher.begun;
    return watcher;
  }

  /** Ends the writers, waits until all watchers are where they ended, and compares. */
  async end(): Promise<string> {
    this.#isOver = true;
    await Promise.all(this.#running);
    const last = await this.#lastWrite();
    for (const watcher of this.#watchers) await watcher.reach(last);
    const history = this.#history();
    for (const watcher of this.#watchers) watcher.check(history, this.#acknowledged, this.#compactions);
    const trees = await this.#compareTrees(history, last);
    for (const watcher of this.#watchers) watcher.close();
    const told = this.#watchers.reduce((sum, watcher) => sum + watcher.told.length, 0);
    const hops = this.#watchers.reduce((sum, watcher) => sum + watcher.hops, 0);
    const resyncs = this.#watchers.reduce((sum, watcher) => sum + watcher.resyncs.length, 0);
    const positions = this.#watchers.reduce((sum, watcher) => sum + watcher.progress.length, 0);
    return `${this.written} writes acknowledged, ${this.failed} not; ${history.length} changes, told ${told} times to ${this.#watchers.length} watchers, ${hops} hops, ${resyncs} resyncs, ${positions} positions without changes; ${trees} trees as told`;
  }

  /** Forgets what came before a revision. */
  async compact(client: Holdfast, revision: bigint): Promise<void> {
    await client.config.compact(revision, { timeout: '30s' });
    this.#compactions.push(revision);
  }

  /** Goes on until whoever follows what nobody writes was told positions. */
  async positions(): Promise<void> {
    const resting = this.#watchers.filter(({ following }) => following.selection === this.#restingKey);
    await until(
      () => resting.every(({ progress }) => progress.length > 0),
      30_000,
      () => 'no position was told',
    );
  }

  /**
   * What was told makes the tree that is read, at revisions in all of the history that is kept:
   * a change that nobody was told of would show in the number of changes of its key.
   */
  async #compareTrees(history: readonly Told[], last: bigint): Promise<number> {
    const from = this.#compactions.reduce((most, one) => (one > most ? one : most), 0n);
    const kept = history.filter(({ revision }) => revision >= from && revision <= last);
    const step = Math.max(1, Math.floor(kept.length / TREES));
    const revisions = [...kept.filter((_, at) => at % step === 0).map(({ revision }) => revision), last];
    const reader = this.#writers[0]!.config;
    for (const revision of revisions) {
      const { entries } = await reader.list({ prefix: this.#prefix }, { revision, timeout: '30s' });
      const shown = entries.map(
        (entry) =>
          `${String(entry.key)} ${entry.text()} ${entry.createRevision} ${entry.modRevision} ${entry.version}`,
      );
      expect(shown, `the tree at ${revision}`).toEqual(treeOf(history, revision));
    }
    return revisions.length;
  }

  /** Everything that anybody was told. */
  #history(): Told[] {
    const all = new Map<string, Told>();
    for (const { told, following } of this.#watchers)
      for (const one of told) {
        const name = `${one.revision} ${one.key}`;
        const known = all.get(name);
        if (known !== undefined)
          expect([known.type, known.value], `${following.title} was told otherwise of ${name}`).toEqual([
            one.type,
            one.value,
          ]);
        else all.set(name, one);
      }
    return [...all.values()].sort((a, b) => Number(a.revision - b.revision));
  }

  /** A revision that all watchers pass, by a key that each of them follows. */
  async #lastWrite(): Promise<bigint> {
    const then = [0, 1, 2, 3].map((key) => ({ put: `${this.#prefix}${key}`, value: 'last' }));
    await this.#writers[0]!.config.transaction({ then }, { timeout: '30s' });
    const deletes = [0, 1, 2, 3].map((key) => ({ delete: `${this.#prefix}${key}` }));
    const { revision } = await this.#writers[0]!.config.transaction({ then: deletes }, { timeout: '30s' });
    const rest = { put: this.#restingKey, value: 'last' };
    await this.#writers[0]!.config.transaction({ then: [...then, rest] }, { timeout: '30s' });
    return revision;
  }

  async #write(writer: Holdfast): Promise<void> {
    while (!this.#isOver) {
      try {
        await this.#writeOnce(writer, this.#turn++);
      } catch {
        this.failed++;
      }
      await new Promise((resolve) => setTimeout(resolve, THINK_MS));
    }
  }

  async #writeOnce(writer: Holdfast, turn: number): Promise<void> {
    const key = `${this.#prefix}${turn % KEYS}`;
    const value = `v${turn}`;
    const options = { timeout: CALL_MS };
    if (turn % 7 === 3) {
      const { revision, deleted } = await writer.config.delete(key, options);
      if (deleted > 0) this.#acknowledged.push({ revision, keys: [key], value: undefined });
    } else if (turn % 5 === 2) {
      const keys = [0, 2, 5].map((step) => `${this.#prefix}${(turn + step) % KEYS}`);
      const then = keys.map((put) => ({ put, value }));
      const { revision } = await writer.config.transaction({ then }, options);
      this.#acknowledged.push({ revision, keys, value });
    } else {
      const { revision } = await writer.config.put(key, value, options);
      this.#acknowledged.push({ revision, keys: [key], value });
    }
  }
}

/** The entries of a tree to which all this was done. */
function treeOf(history: readonly Told[], revision: bigint): string[] {
  const entries = new Map<string, { value: string; created: bigint; changed: bigint; version: number }>();
  for (const one of history) {
    if (one.revision > revision) break;
    const before = entries.get(one.key);
    const created = before?.created ?? one.revision;
    const version = (before?.version ?? 0) + 1;
    if (one.type === 'delete') entries.delete(one.key);
    else entries.set(one.key, { value: one.value, created, changed: one.revision, version });
  }
  return [...entries]
    .map(([key, { value, created, changed, version }]) => `${key} ${value} ${created} ${changed} ${version}`)
    .sort();
}

/** Somebody who follows, maybe by several watches one after the other. */
export class Watcher {
  readonly following: Following;
  readonly told: Told[] = [];
  readonly resyncs: bigint[] = [];
  readonly progress: bigint[] = [];
  readonly begun: Promise<void>;
  hops = 0;
  readonly #clients: readonly Holdfast[];
  #watch: ConfigWatch;
  #from = 0n;
  #reached = 0n;
  #error: unknown;
  #isOver = false;

  constructor(clients: readonly Holdfast[], following: Following) {
    this.#clients = clients;
    this.following = following;
    this.#watch = this.#open(following.options?.from);
    this.begun = this.#watch.started().then(() => {
      // What was told meanwhile counts.
      const first = this.told[0]?.revision ?? this.#watch.position;
      const from = following.options?.from;
      this.#from = from === undefined ? first : BigInt(from);
    });
    this.#run().catch((error: unknown) => (this.#error = error));
  }

  /** Everything up to a revision was told. */
  async reach(revision: bigint): Promise<void> {
    await until(
      () => this.#reached >= revision || this.#error !== undefined,
      60_000,
      () => `${this.following.title} is at ${this.#reached}, not at ${revision}`,
    );
    if (this.#error !== undefined) throw this.#error;
  }

  close(): void {
    this.#isOver = true;
    this.#watch.close();
  }

  check(
    history: readonly Told[],
    acknowledged: readonly Acknowledged[],
    compactions: readonly bigint[],
  ): void {
    const { title, options } = this.following;
    for (const resync of this.resyncs) expect(compactions, title).toContain(resync + 1n);
    const isLost = (revision: bigint) => this.#gaps.some(([from, to]) => revision >= from && revision <= to);
    const wanted = (one: Pick<Told, 'key' | 'type' | 'revision'>) =>
      this.#selects(one.key) &&
      (one.type === 'put' ? options?.puts !== false : options?.deletes !== false) &&
      one.revision >= this.#from &&
      one.revision <= this.#reached &&
      !isLost(one.revision);
    const shown = ({ revision, key, type, value }: Told) => `${revision} ${type} ${key} ${value}`;
    expect(this.told.map(shown), title).toEqual(history.filter(wanted).map(shown));
    const known = new Map(this.told.map((one) => [`${one.revision} ${one.key}`, one]));
    for (const { revision, keys, value } of acknowledged)
      for (const key of keys) {
        const type = value === undefined ? 'delete' : 'put';
        if (!wanted({ key, type, revision })) continue;
        const one = known.get(`${revision} ${key}`);
        expect([one?.type, one?.value], `${title}: ${type} of ${key} at ${revision}`).toEqual([
          type,
          value ?? '',
        ]);
      }
    if (options?.previous === true) this.#checkPrevious(history);
  }

  readonly #gaps: [bigint, bigint][] = [];

  #checkPrevious(history: readonly Told[]): void {
    const values = new Map<string, string | undefined>();
    const before = new Map<string, string | undefined>();
    for (const one of history) {
      before.set(`${one.revision} ${one.key}`, values.get(one.key));
      values.set(one.key, one.type === 'put' ? one.value : undefined);
    }
    for (const { revision, key, previous } of this.told)
      expect(previous, `what was before ${revision} ${key}`).toBe(before.get(`${revision} ${key}`));
  }

  #selects(key: string): boolean {
    const { selection } = this.following;
    if (typeof selection === 'string') return key === selection;
    if ('prefix' in selection) return key.startsWith(selection.prefix as string);
    const { start, end } = selection as { start: string; end?: string };
    return key >= start && (end === undefined || key < end);
  }

  #open(from: bigint | number | undefined): ConfigWatch {
    const client = this.#clients[this.hops % this.#clients.length]!;
    const { selection, options } = this.following;
    return client.config.watch(selection, { ...options, from, progress: true });
  }

  async #run(): Promise<void> {
    for (;;) {
      let items = 0;
      for await (const item of this.#watch) {
        if (item.type === 'resync') this.#gaps.push([this.#reached + 1n, item.revision]);
        else if (item.type === 'changes') this.#take(item.events);
        expect(item.revision).toBeGreaterThanOrEqual(this.#reached);
        this.#reached = item.revision;
        if (item.type === 'resync') this.resyncs.push(item.revision);
        if (item.type === 'progress') this.progress.push(item.revision);
        items++;
        if (items === this.following.hopsAfter && !this.#isOver) break;
      }
      if (this.#isOver || items !== this.following.hopsAfter) return;
      this.hops++;
      this.#watch = this.#open(this.#reached + 1n);
    }
  }

  /** All of a revision is in one item, so the next begins above it. */
  #take(events: readonly ConfigEvent[]): void {
    for (const { type, key, revision, entry, previous } of events) {
      expect(revision).toBeGreaterThan(this.#reached);
      const last = this.told.at(-1);
      if (last !== undefined) expect(revision).toBeGreaterThanOrEqual(last.revision);
      this.told.push({
        type,
        key: key as string,
        revision,
        value: type === 'put' ? entry.text() : '',
        previous: previous?.text(),
      });
    }
    this.told.sort((a, b) => Number(a.revision - b.revision));
  }
}
