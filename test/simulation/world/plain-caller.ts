/**
 * A caller as any program with gRPC may be: asks some node, whichever, knows of no leaders,
 * repeats nothing, and its writes carry no identity. What it is told must be true all the same.
 */
import { create, type DescMessage, type DescMethodUnary, type MessageShape } from '@bufbuild/protobuf';
import {
  GetRequestSchema,
  IncrementRequestSchema,
  KvService,
  PutRequestSchema,
} from '@holdfast/proto/kv/v1/kv';
import { sleep } from '../../../client/clock.ts';
import { HoldfastError } from '../../../client/error.ts';
import { between } from '../../../client/random.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedProcess } from '../../../node/runtime/simulated/simulated-process.ts';
import { SimulatedTransport } from '../../../node/transport/simulated/simulated-transport.ts';
import type { KeyChoice } from './key-choice.ts';
import type { Recorder } from './recorder.ts';
import { bytesOf, labelFrom, labelOf } from './values.ts';
import type { NodeSurroundings } from './node-surroundings.ts';
import { logUniform, pick } from './world-settings.ts';

export class PlainCaller {
  readonly name: string;
  readonly #random: SeededRandom;
  readonly #around: NodeSurroundings;
  readonly #recorder: Recorder;
  readonly #keys: KeyChoice;
  readonly #nextUnique: () => number;
  readonly #clock: SimulatedClock;
  readonly #transport: SimulatedTransport;

  constructor(
    name: string,
    random: SeededRandom,
    around: NodeSurroundings,
    recorder: Recorder,
    keys: KeyChoice,
    nextUnique: () => number,
  ) {
    this.name = name;
    this.#random = random;
    this.#around = around;
    this.#recorder = recorder;
    this.#keys = keys;
    this.#nextUnique = nextUnique;
    const { scheduler, links, settings } = around;
    const process = new SimulatedProcess(scheduler);
    this.#clock = new SimulatedClock(process);
    this.#transport = new SimulatedTransport({
      links,
      host: name,
      process,
      clock: this.#clock,
      isPatient: false,
      windowBytes: settings.windowBytes,
      maxQueuedBytes: settings.maxQueuedBytes,
      routes: undefined,
    });
  }

  /** Works until `isOver`. */
  async run(thinkMs: number, isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await sleep(this.#clock, -Math.log(1 - this.#random.float()) * thinkMs);
      if (!isOver()) await this.#operate();
    }
  }

  #operate(): Promise<void> {
    const { keyspace } = this.#keys.keyspace(this.#random);
    const isCounter = this.#random.chance(0.6);
    const key = isCounter
      ? this.#keys.counter(this.#random, keyspace)
      : this.#keys.register(this.#random, keyspace);
    if (this.#random.chance(0.3)) return this.#get(keyspace, key);
    return isCounter ? this.#increment(keyspace, key) : this.#put(keyspace, key);
  }

  async #get(keyspace: string, key: string): Promise<void> {
    const call = this.#recorder.begin(this.name, `${keyspace}/${key}`, { kind: 'get' }, ignore);
    const request = create(GetRequestSchema, { keyspace, key: Buffer.from(key) });
    try {
      const { entry } = await this.#call(KvService.method.get, request);
      call.read(entry && { value: labelFrom(entry.value), version: entry.version });
    } catch (error) {
      call.failed(error);
    }
  }

  async #increment(keyspace: string, key: string): Promise<void> {
    const delta = BigInt(between(this.#random, 1, 5));
    const call = this.#recorder.begin(this.name, `${keyspace}/${key}`, { kind: 'increment', delta }, ignore);
    const request = create(IncrementRequestSchema, { keyspace, key: Buffer.from(key), delta });
    try {
      const { value, version } = await this.#call(KvService.method.increment, request);
      call.applied({ counter: value, version });
    } catch (error) {
      call.failed(fate(error));
    }
  }

  async #put(keyspace: string, key: string): Promise<void> {
    const { maxValueBytes } = this.#around.settings;
    const value = labelOf(this.#nextUnique(), Math.round(logUniform(this.#random, 1, maxValueBytes)));
    const call = this.#recorder.begin(this.name, `${keyspace}/${key}`, { kind: 'put', value }, ignore);
    const request = create(PutRequestSchema, { keyspace, key: Buffer.from(key), value: bytesOf(value) });
    try {
      call.applied(await this.#call(KvService.method.put, request));
    } catch (error) {
      call.failed(fate(error));
    }
  }

  #call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
  ): Promise<MessageShape<O>> {
    const { members, settings } = this.#around;
    const { address } = pick(this.#random, ...members);
    return this.#transport.unary(address, method, request, { timeoutMs: settings.timeoutMs });
  }
}

const ignore = () => undefined;

/** What a write was not said to be is not known. */
function fate(error: unknown): unknown {
  return error instanceof HoldfastError ? error.withOutcome(error.outcome ?? 'UNKNOWN') : error;
}
