/**
 * A caller that writes and reads a few keys of the configuration: puts with and without
 * conditions and leases, deletes, transactions, reads of now, of a revision, and stale ones;
 * rarely it has history forgotten.
 */
import { sleep } from '../../../client/clock.ts';
import type { ConfigEntry } from '../../../client/config/config-entry.ts';
import type { ConfigOperation } from '../../../client/config/config-options.ts';
import { HoldfastError } from '../../../client/error.ts';
import { between } from '../../../client/random.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import type { ConfigCall, ConfigChecker, ReadEntry } from '../checkers/config-checker.ts';
import { CONFIG_KEYS, prefixPlan, somePlan } from './config-plan.ts';
import { someTtlMs } from './lock-plan.ts';
import type { WorkRecorder } from './work-recorder.ts';
import type { WorldClient } from './world-client.ts';
import { pick } from './world-settings.ts';

export interface ConfigWork {
  readonly config: ConfigChecker;
  readonly recorder: WorkRecorder;
}

export class ConfigCaller {
  readonly name: string;
  readonly #client: WorldClient;
  readonly #work: ConfigWork;
  readonly #random: SeededRandom;
  /** By key: when it was last changed, perhaps outdated. */
  readonly #known = new Map<string, bigint>();
  #written = 0;

  constructor(name: string, client: WorldClient, work: ConfigWork, random: SeededRandom) {
    this.name = name;
    this.#client = client;
    this.#work = work;
    this.#random = random;
  }

  /** Works until `isOver`. */
  async run(thinkMs: number, isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await sleep(this.#client.clock, -Math.log(1 - this.#random.float()) * thinkMs);
      if (!isOver()) await this.#operate();
    }
  }

  die(): void {}

  #operate(): Promise<void> {
    const at = this.#random.float();
    if (at < 0.35) return this.#put();
    if (at < 0.45) return this.#delete();
    if (at < 0.6) return this.#transact();
    if (at < 0.78) return this.#get();
    if (at < 0.93) return this.#list();
    if (at < 0.96) return this.#leased();
    return this.#compact();
  }

  async #put(): Promise<void> {
    const key = this.#key();
    const value = this.#value();
    const how = pick(this.#random, {}, {}, { ifAbsent: true }, { ifModRevision: this.#known.get(key) ?? 0n });
    const kind = 'ifModRevision' in how || 'ifAbsent' in how ? 'config put if' : 'config put';
    await this.#write(kind, `${key} ${value}`, new Map([[key, value]]), () =>
      this.#client.holdfast.config.put(key, value, how),
    );
  }

  async #delete(): Promise<void> {
    const one = this.#random.chance(0.7);
    const keys = one
      ? this.#key()
      : (prefixPlan(pick(this.#random, 'app/', 'lib/')).selection as { prefix: string });
    const what = typeof keys === 'string' ? keys : keys.prefix;
    await this.#write('config delete', what, new Map(), () => this.#client.holdfast.config.delete(keys));
  }

  async #transact(): Promise<void> {
    const [key, other] = [this.#key(), this.#key()];
    const puts = new Map([key, other].map((each) => [each, this.#value()]));
    const then: ConfigOperation[] = [...puts].map(([put, value]) => ({ put, value }));
    if (this.#random.chance(0.3)) then.unshift({ get: key });
    const alternative = this.#value();
    const otherwise = this.#random.chance(0.5);
    const modRevision = this.#known.get(key) ?? 0n;
    const values = otherwise ? [...puts.values(), alternative] : puts.values();
    await this.#write(
      'config transaction',
      [...puts].map(([put, value]) => `${put} ${value}`).join(' '),
      puts,
      async () => {
        const { succeeded, revision } = await this.#client.holdfast.config.transaction({
          if: [{ key, modRevision }],
          then,
          else: otherwise ? [{ put: other, value: alternative }] : [],
        });
        this.#work.recorder.did(this.name, succeeded ? 'config then' : 'config else', `${revision}`);
        if (succeeded) return { revision };
        return { revision, instead: otherwise ? new Map([[other, alternative]]) : new Map<string, string>() };
      },
      values,
    );
  }

  /** `puts`: by key, what is there when it was done; `values`: all that may be. */
  async #write(
    kind: string,
    what: string,
    puts: ReadonlyMap<string, string>,
    write: () => Promise<{ revision: bigint; instead?: ReadonlyMap<string, string> }>,
    values: Iterable<string> = puts.values(),
  ): Promise<void> {
    const { config, recorder } = this.#work;
    const call = config.begin(this.name, `${kind} ${what}`);
    try {
      const { revision, instead } = await write();
      config.written(call, revision, instead ?? puts);
      for (const key of (instead ?? puts).keys()) this.#known.set(key, revision);
      recorder.did(this.name, kind, `${what} at ${revision}`);
    } catch (error) {
      const { outcome } = recorder.failed(this.name, kind, what, error);
      if (outcome === 'NOT_APPLIED') config.notApplied(call, values);
    }
  }

  async #get(): Promise<void> {
    const key = this.#key();
    const how = this.#how();
    await this.#read('config get', key, how, async (call) => {
      const entry = await this.#client.holdfast.config.get(key, how);
      if (entry !== undefined) this.#known.set(key, entry.modRevision);
      this.#work.config.got(call, key, entry && readEntry(entry), how);
    });
  }

  async #list(): Promise<void> {
    const plan = somePlan(this.#random);
    const { selection, span, what } = plan;
    const how = this.#how();
    const of = typeof selection === 'string' ? { start: selection, end: `${selection}\0` } : selection;
    await this.#read('config list', what, how, async (call) => {
      const { entries, revision } = await this.#client.holdfast.config.list(of, how);
      this.#work.config.listed(call, span, { entries: entries.map(readEntry), revision }, how);
    });
  }

  /** As of a revision, stale, or as it is now. */
  #how(): { revision?: number; stale?: boolean } {
    const { known } = this.#work.config;
    if (this.#random.chance(0.2) && known > 0)
      return { revision: Math.max(1, known - between(this.#random, 0, 10)) };
    return this.#random.chance(0.15) ? { stale: true } : {};
  }

  async #read(
    kind: string,
    what: string,
    how: { revision?: number; stale?: boolean },
    read: (call: ConfigCall) => Promise<void>,
  ): Promise<void> {
    const { config, recorder } = this.#work;
    const shown =
      how.stale === true ? `${kind} stale` : how.revision === undefined ? kind : `${kind} at revision`;
    const call = config.begin(this.name, `${shown} ${what}`);
    try {
      await read(call);
      recorder.did(this.name, shown, what);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      const { reason } = recorder.failed(this.name, shown, what, error);
      if (reason === 'REVISION_COMPACTED') config.compactedAway(call, how.revision!);
    }
  }

  /** A key that ends with a lease, which nobody keeps alive. */
  async #leased(): Promise<void> {
    const { recorder } = this.#work;
    const keys = [this.#key(), this.#key()];
    try {
      const lease = await this.#client.holdfast.leases.grant({
        ttl: someTtlMs(this.#random),
        keepAlive: false,
      });
      for (const key of keys) {
        const value = this.#value();
        await this.#write('config put leased', `${key} ${value}`, new Map([[key, value]]), () =>
          this.#client.holdfast.config.put(key, value, { lease }),
        );
      }
      if (this.#random.chance(0.3)) await lease.revoke();
    } catch (error) {
      recorder.failed(this.name, 'lease', keys.join(' '), error);
    }
  }

  async #compact(): Promise<void> {
    const { config, recorder } = this.#work;
    const revision = config.known - between(this.#random, 0, 5);
    if (revision < 1) return;
    try {
      await this.#client.holdfast.config.compact(revision);
      recorder.did(this.name, 'config compacted', String(revision));
    } catch (error) {
      recorder.failed(this.name, 'config compaction', String(revision), error);
    }
  }

  #key(): string {
    return pick(this.#random, ...CONFIG_KEYS);
  }

  #value(): string {
    return `${this.name}:${++this.#written}`;
  }
}

export function readEntry(entry: ConfigEntry): ReadEntry {
  const { key, createRevision, modRevision, version, lease } = entry;
  return { key: String(key), value: entry.text(), createRevision, modRevision, version, lease };
}
