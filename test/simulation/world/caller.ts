/**
 * One caller of a client: makes an operation, waits for its end, thinks, makes the next.
 * What it does is drawn from its own randomness and from what it was told before.
 */
import { CheckFailure } from '../../raft/check-failure.ts';
import { sleep } from '../../../client/clock.ts';
import type { Entry } from '../../../client/entry.ts';
import type { BatchOperation } from '../../../client/keyspace-options.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import type { KvRequest } from '../checkers/kv-history.ts';
import { between } from '../../../client/random.ts';
import type { KeyChoice } from './key-choice.ts';
import type { RecordedCall, Recorder } from './recorder.ts';
import { callTransaction } from './transactions.ts';
import { bytesOf, labelFrom, labelOf } from './values.ts';
import type { WorldClient } from './world-client.ts';
import { logUniform, type OperationWeights, type WorldSettings } from './world-settings.ts';

/** A call may end so much after its deadline: a tick of the client's, and the turns that it takes to hear of it. */
const LATE_MS = 26;

/** What the caller remembers of a key, perhaps outdated. */
interface Known {
  readonly value: string;
  readonly version: bigint | undefined;
}

export class Caller {
  readonly name: string;
  readonly client: WorldClient;
  readonly recorder: Recorder;
  readonly random: SeededRandom;
  readonly keys: KeyChoice;
  readonly #settings: WorldSettings;
  readonly #nextUnique: () => number;
  readonly #onLate: (failure: CheckFailure) => void;
  readonly #known = new Map<string, Known>();

  constructor(
    name: string,
    client: WorldClient,
    recorder: Recorder,
    random: SeededRandom,
    keys: KeyChoice,
    settings: WorldSettings,
    nextUnique: () => number,
    onLate: (failure: CheckFailure) => void,
  ) {
    this.#onLate = onLate;
    this.name = name;
    this.client = client;
    this.recorder = recorder;
    this.random = random;
    this.keys = keys;
    this.#settings = settings;
    this.#nextUnique = nextUnique;
  }

  /** Works until `isOver`. */
  async run(thinkMs: number, isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await sleep(this.client.clock, -Math.log(1 - this.random.float()) * thinkMs);
      if (!isOver()) await this.#operate();
    }
  }

  /** Reads a key, in the end. */
  async readFinally(keyspace: string, key: string): Promise<void> {
    await this.#single(keyspace, key, { kind: 'get' });
  }

  /** The label of a new value. */
  newLabel(): string {
    return labelOf(this.#nextUnique(), Math.round(logUniform(this.random, 1, this.#settings.maxValueBytes)));
  }

  /** Begins an operation, which has to end by its deadline. */
  begin(
    keyspace: string,
    key: string,
    request: KvRequest,
    withinMs = this.#settings.timeoutMs,
  ): RecordedCall {
    const startedMs = this.client.ranMs();
    return this.recorder.begin(this.name, `${keyspace}/${key}`, request, () => {
      const tookMs = this.client.ranMs() - startedMs;
      if (tookMs <= withinMs + LATE_MS) return;
      this.#onLate(
        new CheckFailure('deadline', `${this.name} waited ${tookMs} ms for ${key}, limit ${withinMs}`),
      );
    });
  }

  /** Options of a call: some have little time. */
  hurry(): { timeout: number } {
    const timeout = this.random.chance(0.15) ? Math.round(logUniform(this.random, 20, 1_500)) : undefined;
    return { timeout: Math.min(timeout ?? Infinity, this.#settings.timeoutMs) };
  }

  #operate(): Promise<void> {
    const kind = this.#draw();
    const { keyspace } = this.keys.keyspace(this.random);
    switch (kind) {
      case 'scan':
        return this.#scan(keyspace);
      case 'batch':
        return this.#batch(keyspace);
      case 'batchGet':
        return this.#batchGet(keyspace);
      case 'transaction':
        return callTransaction(this);
      case 'expiring':
        return this.#single(keyspace, this.keys.expiring(this.random), this.#expiringRequest());
      case 'increment':
        return this.#single(keyspace, this.keys.counter(this.random, keyspace), this.#increment());
      default: {
        const key = this.keys.register(this.random, keyspace);
        return this.#single(keyspace, key, this.#request(kind, keyspace, key));
      }
    }
  }

  #draw(): keyof OperationWeights {
    const weights = Object.entries(this.#settings.weights) as [keyof OperationWeights, number][];
    let left = this.random.float() * weights.reduce((sum, [, weight]) => sum + weight, 0);
    return weights.find(([, weight]) => (left -= weight) < 0)?.[0] ?? 'get';
  }

  #increment(): KvRequest {
    return this.random.chance(0.3)
      ? { kind: 'get' }
      : { kind: 'increment', delta: BigInt(between(this.random, 1, 5)) };
  }

  #expiringRequest(): KvRequest {
    if (this.random.chance(0.4)) return { kind: 'get' };
    return { kind: 'put', value: this.newLabel(), ttlMs: Math.round(logUniform(this.random, 20, 5_000)) };
  }

  #request(kind: keyof OperationWeights, keyspace: string, key: string): KvRequest {
    const known = this.#known.get(`${keyspace}/${key}`);
    const version = Number(known?.version ?? 1n);
    switch (kind) {
      case 'put':
      case 'create':
        return { kind, value: this.newLabel() };
      case 'setIfVersion':
        return { kind, expectedVersion: version, value: this.newLabel() };
      case 'setIfValue':
        return { kind, expectedValue: known?.value ?? 'a', value: this.newLabel() };
      case 'delete':
        return { kind };
      case 'deleteIfVersion':
        return { kind, expectedVersion: version };
      default:
        return { kind: 'get' };
    }
  }

  async #single(keyspace: string, key: string, request: KvRequest): Promise<void> {
    const options = this.hurry();
    const call = this.begin(keyspace, key, request, options.timeout);
    try {
      if (request.kind === 'get')
        this.#read(call, keyspace, key, await this.#space(keyspace).get(key, options));
      else call.applied(await this.#write(keyspace, key, request, options));
    } catch (error) {
      call.failed(error);
    }
  }

  #read(call: RecordedCall, keyspace: string, key: string, entry: Entry | undefined): void {
    const found = entry && { value: labelFrom(entry.bytes), version: entry.version };
    if (found !== undefined) this.#known.set(`${keyspace}/${key}`, found);
    call.read(found);
  }

  async #write(
    keyspace: string,
    key: string,
    request: Exclude<KvRequest, { kind: 'get' }>,
    options: { timeout: number },
  ) {
    const space = this.#space(keyspace);
    switch (request.kind) {
      case 'increment':
        return { counter: await space.increment(key, request.delta, options) };
      case 'delete':
        return space.delete(key, options);
      case 'deleteIfVersion':
        return space.delete(key, { ...options, ifVersion: request.expectedVersion });
      default: {
        const conditions = {
          ...options,
          ...('expectedVersion' in request && { ifVersion: request.expectedVersion }),
          ...('expectedValue' in request && { ifValue: bytesOf(request.expectedValue) }),
          ...(request.kind === 'create' && { ifAbsent: true }),
          ...(request.ttlMs !== undefined && { ttl: request.ttlMs }),
        };
        const written = await space.put(key, bytesOf(request.value), conditions);
        this.#known.set(`${keyspace}/${key}`, { value: request.value, version: written.version });
        return written;
      }
    }
  }

  /** Of each key there may be, the scan says whether it is there. */
  async #scan(keyspace: string): Promise<void> {
    const keys = this.keys.all(keyspace);
    const calls = new Map(keys.map((key) => [key, this.begin(keyspace, key, { kind: 'get' }, Infinity)]));
    try {
      const found = new Map<string, Entry>();
      for await (const entry of this.#space(keyspace).scan()) found.set(String(entry.key), entry);
      for (const [key, call] of calls) this.#read(call, keyspace, key, found.get(key));
    } catch (error) {
      for (const call of calls.values()) call.failed(error);
    }
  }

  async #batchGet(keyspace: string): Promise<void> {
    const keys = Array.from({ length: between(this.random, 2, 6) }, () =>
      this.keys.register(this.random, keyspace),
    );
    await Promise.all(keys.map((key) => this.#single(keyspace, key, { kind: 'get' })));
  }

  async #batch(keyspace: string): Promise<void> {
    const items = Array.from({ length: between(this.random, 2, 8) }, () => this.#batchItem(keyspace));
    const calls = items.map(({ key, request }) => this.begin(keyspace, key, request));
    const results = await this.#space(keyspace).write(items.map(({ operation }) => operation));
    for (const [position, result] of results.entries()) {
      if (result.ok) calls[position]!.applied(result);
      else calls[position]!.failed(result.error);
    }
  }

  #batchItem(keyspace: string): { key: string; request: KvRequest; operation: BatchOperation } {
    if (this.random.chance(0.3)) {
      const key = this.keys.counter(this.random, keyspace);
      return { key, request: { kind: 'increment', delta: 1n }, operation: { increment: key } };
    }
    const key = this.keys.register(this.random, keyspace);
    if (this.random.chance(0.2)) return { key, request: { kind: 'delete' }, operation: { delete: key } };
    const value = this.newLabel();
    if (this.random.chance(0.2)) {
      return { key, request: { kind: 'create', value }, operation: { create: key, value: bytesOf(value) } };
    }
    return { key, request: { kind: 'put', value }, operation: { put: key, value: bytesOf(value) } };
  }

  #space(name: string) {
    return this.client.keyspace(name);
  }
}
