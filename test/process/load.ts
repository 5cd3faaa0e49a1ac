/**
 * Clients that write as fast as they are answered: puts, compare-and-sets, creates,
 * increments, transactions of two keys. Every value is unique, and everything goes into
 * a history. Of the clients one is impatient: its calls end before a killed node is back,
 * so their fate is unknown; those of the others are retried until they are answered.
 */
import { connect, type Holdfast, type Keyspace } from '@holdfast/client';
import { between } from '@holdfast/client/random';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { History, valueOf } from './history.ts';

const CLIENTS = 4;
const WORKERS_A_CLIENT = 8;
const PATIENT_MS = 30_000;
const IMPATIENT_MS = 60;
const OWN_KEYS = 8;
const SHARED_KEYS = 12;
const COUNTERS = 6;
/** Keyspace with one partition, so that any two of its keys can be written together. */
export const PAIRS = 'pairs';

export class Load implements AsyncDisposable {
  readonly history = new History();
  readonly #clients: Holdfast[];
  readonly #random: SeededRandom;
  #workers: Promise<void>[] = [];
  #stopping = false;
  #serial = 0;

  private constructor(clients: Holdfast[], seed: number) {
    this.#clients = clients;
    this.#random = new SeededRandom(seed);
  }

  static async over(endpoint: string, seed: number, allPatient = false): Promise<Load> {
    const timeouts = Array.from({ length: CLIENTS }, (_, client) =>
      client === CLIENTS - 1 && !allPatient ? IMPATIENT_MS : PATIENT_MS,
    );
    const clients = await Promise.all(timeouts.map((timeout) => connect({ endpoints: endpoint, timeout })));
    await clients[0]!.keyspaces.create(PAIRS, { partitions: 1 });
    return new Load(clients, seed);
  }

  /** Starts the workers. */
  begin(): void {
    this.#stopping = false;
    this.#workers = this.#clients.flatMap((client, number) =>
      Array.from({ length: WORKERS_A_CLIENT }, (_, worker) => this.#work(client, `${number}.${worker}`)),
    );
  }

  /** Lets each worker finish its operation; resolves when all calls are settled. */
  async end(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#workers);
  }

  /** Reads keys back while nothing is written, and judges what is there. */
  async verify(keys: readonly string[]): Promise<void> {
    const [client] = this.#clients;
    for (const [keyspace, own] of [
      [client!.keyspace('default'), keys.filter((key) => !key.startsWith(PAIRS))],
      [client!.keyspace(PAIRS), keys.filter((key) => key.startsWith(PAIRS))],
    ] as const) {
      const entries = await keyspace.getMany(own);
      for (const [position, key] of own.entries()) this.history.check(key, entries[position]);
    }
    await this.#verifyPairs();
  }

  /** Reads everything there is by scans, and judges it and what is missing. */
  async verifyAll(): Promise<number> {
    const left = new Set(this.history.keys);
    for (const name of ['default', PAIRS]) {
      for await (const entry of this.#clients[0]!.keyspace(name).scan()) {
        left.delete(entry.key as string);
        this.history.check(entry.key as string, entry);
      }
    }
    for (const key of left) this.history.check(key, undefined);
    return this.history.keys.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#clients.map((client) => client.close({ timeout: 0 })));
    await Promise.all(this.#workers);
  }

  async #work(client: Holdfast, worker: string): Promise<void> {
    const kv = client.keyspace('default');
    while (!this.#stopping) {
      const kind = this.#below(100);
      if (kind < 40) await this.#put(kv, `own/${worker}/${this.#below(OWN_KEYS)}`);
      else if (kind < 60) await this.#increment(kv, `counter/${this.#below(COUNTERS)}`);
      else if (kind < 80) await this.#compareAndSet(kv, `shared/${this.#below(SHARED_KEYS)}`);
      else if (kind < 90) await this.#create(kv, worker);
      else await this.#pair(client.keyspace(PAIRS));
    }
  }

  async #put(kv: Keyspace, key: string): Promise<void> {
    const value = this.#value();
    await this.history.write(key, value, kv.put(key, value));
  }

  #increment(kv: Keyspace, key: string): Promise<void> {
    return this.history.increment(key, kv.increment(key));
  }

  async #compareAndSet(kv: Keyspace, key: string): Promise<void> {
    const value = this.#value();
    const before = await kv.get(key).catch(() => null);
    if (before === null) return; // a read that the kill cut off
    if (before === undefined) await this.history.write(key, value, kv.create(key, value), 0n);
    else {
      const ifVersion = before.version;
      await this.history.write(key, value, kv.put(key, value, { ifVersion }), ifVersion);
    }
  }

  /** Creates a key, and then again, which must not succeed. */
  async #create(kv: Keyspace, worker: string): Promise<void> {
    const key = `created/${worker}/${this.#serial}`;
    for (const value of [this.#value(), this.#value()])
      await this.history.write(key, value, kv.create(key, value), 0n);
  }

  /** Two keys get one value, together or not at all. */
  async #pair(kv: Keyspace): Promise<void> {
    const value = this.#value();
    const [left, right] = pairKeys(this.#below(SHARED_KEYS));
    const then = [left, right].map((put) => ({ put, value }));
    const call = kv.transact({ then }).then(({ results }) => results.map(versionOf));
    const versions = (at: number) => call.then((both) => ({ version: both[at]! }));
    await Promise.all([
      this.history.write(left, value, versions(0)),
      this.history.write(right, value, versions(1)),
    ]);
  }

  async #verifyPairs(): Promise<void> {
    const kv = this.#clients[0]!.keyspace(PAIRS);
    for (let number = 0; number < SHARED_KEYS; number++) {
      const { results } = await kv.transact({ then: pairKeys(number).map((get) => ({ get })) });
      const [left, right] = results.map(({ entry }) => entry?.text());
      if (left !== right)
        this.history.violations.push(`pair ${number}: only one of two keys was written`);
    }
  }

  /** Unique; mostly small, sometimes as long as many sectors of the disk. */
  #value(): string {
    const length = this.#below(20) === 0 ? this.#below(40_000) : this.#below(400);
    return valueOf(`${++this.#serial}`, length);
  }

  #below(bound: number): number {
    return between(this.#random, 0, bound - 1);
  }
}

function pairKeys(number: number): [string, string] {
  return [`${PAIRS}/${number}/left`, `${PAIRS}/${number}/right`];
}

function versionOf(result: { version?: bigint } | undefined): bigint {
  return result?.version ?? 0n;
}
