import { type Duration, durationMs } from '../duration.ts';
import { invalid, type Key, type Value } from '../values.ts';
import { checkCompression, type Compression } from './compression.ts';
import { MAX_BATCH_BYTES } from './record-batch.ts';

/** Headers of a record to be sent: an object, or pairs in order, whose names may stand more than once. Text is sent as UTF-8. */
export type ProducerHeaders =
  | Readonly<Record<string, string | Uint8Array>>
  | Iterable<readonly [name: string, value: string | Uint8Array]>;

/** A record to be sent. */
export interface ProducerRecord {
  /** Default: the topic of the producer. */
  topic?: string | undefined;
  /** Records of one key go to one partition, in order. Absent: none. */
  key?: Key | undefined;
  /** Text as UTF-8, bytes as they are, everything else as JSON. Null or absent: none, which in a compacted topic deletes the key. */
  value?: Value | null | undefined;
  headers?: ProducerHeaders | undefined;
  /** ms since 1970. Default: now. */
  timeMs?: number | undefined;
  /** Default: what the partitioner says. */
  partition?: number | undefined;
}

/** Where a record was kept. */
export interface RecordLocation {
  readonly topic: string;
  readonly partition: number;
  /** Undefined with acks of `leader`: it is not known yet. */
  readonly offset: bigint | undefined;
}

/** Says which of `partitions` a record goes to; `key` undefined: it has none. */
export type Partitioner = (topic: string, key: Uint8Array | undefined, partitions: number) => number;

/** Options of a producer. */
export interface ProducerOptions {
  /** Topic of records that name none. */
  topic?: string | undefined;
  /**
   * When a record counts as sent. `majority`: most replicas have it on disk, and it can be read.
   * `leader`: the leader has it on disk, and it may be lost with it. Default: `majority`.
   */
  acks?: 'majority' | 'leader' | undefined;
  /** How batches are compressed, by this process and in its thread. Default: `none`. */
  compression?: Compression | undefined;
  /**
   * Greatest batch before compression, 1 KiB to 4 MiB; a topic may allow less. Larger: fewer
   * requests under load; smaller: less memory. A record that is larger goes alone. Default: 256 KiB.
   */
  batchBytes?: number | undefined;
  /**
   * How long a batch that is not full waits for more, at most 10 s. Default: 0, what comes in
   * one turn of the event loop, and while `maxInFlight` batches are under way.
   */
  linger?: Duration | undefined;
  /** Batches of one partition that are under way at a time, 1 to 5. Default: 5. */
  maxInFlight?: number | undefined;
  /** Bytes of records that wait for their answers at most; more wait to be taken. Default: 32 MiB. */
  maxBufferedBytes?: number | undefined;
  /**
   * How long a record may take from `send`, 100 ms to 10 min; a batch has that of its first one.
   * Default: 30 s.
   */
  deliveryTimeout?: Duration | undefined;
  /**
   * Whether every record is kept at most once and in order, whatever fails. False: a batch that got
   * lost is not sent again, and one is under way at a time. Default: true.
   */
  idempotent?: boolean | undefined;
  /**
   * A name that only one producer has at a time, 1 to 256 bytes: the next one that takes it ends
   * this one with PRODUCER_FENCED. Such a producer also ends, with SEQUENCE_GAP, when it cannot
   * tell whether a batch was kept, as it cannot begin anew without fencing another. Default: none.
   */
  name?: string | undefined;
  /** Default: MurmurHash3 of the key modulo partitions; without a key the partition of the batch that gathers. */
  partitioner?: Partitioner | undefined;
}

/** Options with their defaults, checked. */
export interface ResolvedProducerOptions {
  readonly topic: string | undefined;
  readonly acks: 'majority' | 'leader';
  readonly compression: Compression;
  readonly batchBytes: number;
  readonly lingerMs: number;
  readonly maxInFlight: number;
  readonly maxBufferedBytes: number;
  readonly deliveryTimeoutMs: number;
  readonly isIdempotent: boolean;
  readonly name: string;
  readonly partitioner: Partitioner | undefined;
}

/** Checks options and fills in defaults. Errors: INVALID_FIELD, COMPRESSION_UNKNOWN. */
export function resolveProducerOptions(options: ProducerOptions): ResolvedProducerOptions {
  const isIdempotent = options.idempotent ?? true;
  const { acks = 'majority', compression = 'none', name = '' } = options;
  if (acks !== 'majority' && acks !== 'leader')
    throw invalid('acks', `acks is ${String(acks)}, allowed are majority and leader`, String(acks));
  checkCompression(compression);
  if (name !== '' && (Buffer.byteLength(name) > 256 || !isIdempotent))
    throw invalid('name', 'a name has 1 to 256 bytes, and belongs to an idempotent producer', name);
  const ms = (duration: Duration | undefined, other: number, field: string, least: number, most: number) =>
    within(durationMs(duration ?? other, field), field, least, most);
  const inFlight = within(options.maxInFlight ?? 5, 'maxInFlight', 1, 5);
  return Object.freeze({
    topic: options.topic,
    acks,
    compression,
    batchBytes: within(options.batchBytes ?? 262_144, 'batchBytes', 1_024, MAX_BATCH_BYTES),
    lingerMs: ms(options.linger, 0, 'linger', 0, 10_000),
    // Sent again after the one behind it was kept, a batch that nobody can tell apart would come too late.
    maxInFlight: isIdempotent ? inFlight : 1,
    maxBufferedBytes: within(options.maxBufferedBytes ?? 33_554_432, 'maxBufferedBytes', 1, 2 ** 40),
    deliveryTimeoutMs: ms(options.deliveryTimeout, 30_000, 'deliveryTimeout', 100, 600_000),
    isIdempotent,
    name,
    partitioner: options.partitioner,
  });
}

/** INVALID_FIELD outside the bounds. */
export function within(value: number, field: string, least: number, most: number): number {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
  const limit = `${least}..${most}`;
  throw invalid(field, `${field} is ${value}, allowed are ${least} to ${most}`, String(value), limit);
}
