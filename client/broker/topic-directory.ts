import { create } from '@bufbuild/protobuf';
import { DescribeTopicRequestSchema, TopicService } from '@holdfast/proto/broker/v1/topic';
import type { ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { callUnary } from '../unary.ts';
import { MAX_BATCH_BYTES } from './record-batch.ts';

/** Between two looks at a topic that is in use, unless somebody asks to wait for one. */
const RELOAD_MS = 1_000;
/** So long a topic is taken to be as it was. */
const MAX_AGE_MS = 30_000;

/** What a client knows of a topic. */
export interface KnownTopic {
  readonly name: string;
  /** Distinguishes it from earlier and later ones of the name. */
  readonly id: bigint;
  /** Number of partitions. */
  readonly partitions: number;
  /** Greatest batch in bytes. */
  readonly maxBatchBytes: number;
}

interface Place {
  topic: KnownTopic | undefined;
  /** By partition: where its leader takes calls, as far as is known. */
  leaders: (string | undefined)[];
  loadedAtMs: number;
  askedAtMs: number;
  loading: Promise<KnownTopic> | undefined;
}

/**
 * The topics in use: how many partitions they have, and who leads those. Who leads is only a
 * hint, as any node takes a call or says who does.
 */
export class TopicDirectory {
  readonly #core: ClientCore;
  readonly #places = new Map<string, Place>();

  constructor(core: ClientCore) {
    this.#core = core;
  }

  /** What is known, without asking; has it looked at again when that is old. */
  known(name: string): KnownTopic | undefined {
    const place = this.#places.get(name);
    if (place?.topic === undefined) return undefined;
    if (this.#core.clock.monotonicMs() - place.loadedAtMs > MAX_AGE_MS) this.refresh(name);
    return place.topic;
  }

  /** Asks a node. All who ask meanwhile get the same answer. Errors: TOPIC_UNKNOWN, those of a call. */
  load(name: string): Promise<KnownTopic> {
    const place = this.#place(name);
    if (place.loading === undefined) {
      place.askedAtMs = this.#core.clock.monotonicMs();
      place.loading = this.#load(name, place).finally(() => (place.loading = undefined));
    }
    return place.loading;
  }

  /** Has a topic looked at again, soon: what is known seems to be wrong. */
  refresh(name: string): void {
    const place = this.#place(name);
    if (this.#core.clock.monotonicMs() - place.askedAtMs < RELOAD_MS) return;
    // What it finds is noted; that it failed shows in the next call.
    this.load(name).catch(() => undefined);
  }

  /** What is known refuses something: forgets it if it may have changed since, and says whether it did. */
  doubt(name: string): boolean {
    const place = this.#places.get(name);
    if (place === undefined || this.#core.clock.monotonicMs() - place.loadedAtMs < RELOAD_MS) return false;
    this.forget(name);
    return true;
  }

  /** Has a topic looked at before it is used again. */
  forget(name: string): void {
    const place = this.#places.get(name);
    if (place !== undefined) place.topic = undefined;
  }

  /** Where the leader of a partition takes calls; undefined: not known. */
  leaderOf(name: string, partition: number): string | undefined {
    return this.#places.get(name)?.leaders[partition];
  }

  /** A node has named the leader; undefined: whoever was taken for it is not. */
  noteLeader(name: string, partition: number, endpoint: string | undefined): void {
    const place = this.#places.get(name);
    if (place === undefined) return;
    place.leaders[partition] = endpoint;
    if (endpoint === undefined) this.refresh(name);
  }

  /** A node cannot be reached: whatever it led, it may lead no more. */
  forgetEndpoint(endpoint: string): void {
    for (const [name, { leaders }] of this.#places) {
      let isLeading = false;
      for (let index = 0; index < leaders.length; index += 1)
        if (leaders[index] === endpoint) {
          leaders[index] = undefined;
          isLeading = true;
        }
      if (isLeading) this.refresh(name);
    }
  }

  #place(name: string): Place {
    let place = this.#places.get(name);
    if (place === undefined) {
      place = {
        topic: undefined,
        leaders: [],
        loadedAtMs: -Infinity,
        askedAtMs: -Infinity,
        loading: undefined,
      };
      this.#places.set(name, place);
    }
    return place;
  }

  async #load(name: string, place: Place): Promise<KnownTopic> {
    const request = create(DescribeTopicRequestSchema, { name });
    const method = TopicService.method.describeTopic;
    try {
      const answer = await callUnary(this.#core, method, request, { isClosing: true, isQuick: true });
      const { topic, partitions } = answer;
      if (topic === undefined)
        throw new HoldfastError({ reason: 'INTERNAL', message: 'the node answered without a topic' });
      place.topic = {
        name,
        id: topic.id,
        partitions: topic.partitions.length,
        maxBatchBytes: Math.min(topic.settings?.maxBatchBytes || MAX_BATCH_BYTES, MAX_BATCH_BYTES),
      };
      place.leaders = partitions.map(({ leader }) => leader || undefined);
      place.loadedAtMs = this.#core.clock.monotonicMs();
      return place.topic;
    } catch (error) {
      if (error instanceof HoldfastError && error.reason === 'TOPIC_UNKNOWN') this.#places.delete(name);
      throw error;
    }
  }
}
