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
/** Between the calls of an impatient worker while the node is away. */
const PAUSE_MS = 25;
const OWN_KEYS = 8;
const SHARED_KEYS = 12;
const COUNTERS = 6;
/** Keyspace with one partition, so that any two of its keys can be written together. */
export const PAIRS = 'pairs';

export class Load implements AsyncDisposable {
  readonly history = new History();
  readonly #endpoint: string;
  readonly #clients: Holdfast[];
  readonly #random: SeededRandom;
  #workers: Promise<void>[] = [];
  #stopping = false;
  #serial = 0;

  private constructor(endpoint: string, clients: Holdfast[], seed: number) {
    this.#endpoint = endpoint;
    this.#clients = clients;
    this.#random = new SeededRandom(seed);
  }

  static async over(endpoint: string, seed: number, allPatient = false): Promise<Load> {
    const timeouts = Array.from({ length: CLIENTS }, (_, client) =>
      client === CLIENTS - 1 && !allPatient ? IMPATIENT_MS : PATIENT_MS,
    );
    const clients = await Promise.all(timeouts.map((timeout) => connect({ endpoints: endpoint, timeout })));
    await clients[0]!.keyspaces.create(PAIRS, { partitions: 1 });
    return new Load(endpoint, clients, seed);
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

  /**
   * Reads back what was written since this was last called, as a client that has just come,
   * and judges what is there. The load may go on meanwhile.
   */
  async verifyTouched(): Promise<void> {
    const touched = this.history.takeTouched();
    const promises = this.history.promises(touched);
    await using client = await connect({ endpoints: this.#endpoint, timeout: PATIENT_MS });
    for (const name of ['default', PAIRS]) {
      const keys = touched.filter((key) => key.startsWith(PAIRS) === (name === PAIRS));
      const entries = await client.keyspace(name).getMany(keys);
      for (const [at, key] of keys.entries()) this.history.check(key, entries[at], promises.get(key)!);
    }
    await this.#verifyPairs(client.keyspace(PAIRS));
  }

  /** Reads everything there is by scans, and judges it and what is missing; returns the number of keys. */
  async verifyAll(): Promise<number> {
    const left = new Map(this.history.promises(this.history.keys));
    await using client = await connect({ endpoints: this.#endpoint, timeout: PATIENT_MS });
    for (const name of ['default', PAIRS]) {
      for await (const entry of client.keyspace(name).scan()) {
        const key = entry.key as string;
        this.history.check(key, entry, left.get(key) ?? 0n);
        left.delete(key);
      }
    }
    for (const [key, promised] of left) this.history.check(key, undefined, promised);
    return this.history.keys.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#clients.map((client) => client.close({ timeout: 0 })));
    await Promise.all(this.#workers);
  }

  async #work(client: Holdfast, worker: string): Promise<void> {
    const kv = client.keyspace('default');
    const { totals } = this.history;
    while (!this.#stopping) {
      const { cutOff } = totals;
      const kind = this.#below(100);
      if (kind < 40) await this.#put(kv, `own/${worker}/${this.#below(OWN_KEYS)}`);
      else if (kind < 60) await this.#increment(kv, `counter/${this.#below(COUNTERS)}`);
      else if (kind < 80) await this.#compareAndSet(kv, `shared/${this.#below(SHARED_KEYS)}`);
      else if (kind < 90) await this.#create(kv, worker);
      else await this.#pair(client.keyspace(PAIRS));
      // A node that is down refuses at once; asking in a loop would only keep it from coming back.
      if (totals.cutOff > cutOff) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
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
    if (before === null) {
      this.history.totals.cutOff++;
      return;
    }
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

  async #verifyPairs(kv: Keyspace): Promise<void> {
    for (let number = 0; number < SHARED_KEYS; number++) {
      const { results } = await kv.transact({ then: pairKeys(number).map((get) => ({ get })) });
      const [left, right] = results.map(({ entry }) => entry?.text());
      if (left !== right) this.history.violations.push(`pair ${number}: only one of two keys was written`);
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
