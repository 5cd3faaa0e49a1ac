import { type Duration, durationMs } from '../duration.ts';
import type { HoldfastError } from '../error.ts';
import { leaseTtlMs } from '../session/leases.ts';
import { integer64, invalid } from '../values.ts';
import { type AssignmentStrategy, STRATEGIES } from './assignment-strategy.ts';
import type { TopicPartition } from './groups.ts';
import { within } from './producer-options.ts';

/** A partition and an offset in it. */
export interface TopicPartitionOffset extends TopicPartition {
  readonly offset: bigint | number;
}

/**
 * Where reading begins: at the first record that there is, behind the last one, at the first one at
 * or after a time, or at offsets; partitions that are not named there begin as by default.
 */
export type StartPosition =
  'earliest' | 'latest' | Date | { readonly offsets: readonly TopicPartitionOffset[] };

/** Options of a consumer. `T`: what `decode` makes of values. */
export interface ConsumerOptions<T = Uint8Array | undefined> {
  /** One topic or some, at most 256. In a group also some that do not exist yet. */
  topics: string | readonly string[];
  /**
   * Group whose members share the partitions and remember how far they came. Default: none, this
   * consumer reads all partitions and nothing is remembered.
   */
  group?: string | undefined;
  /** Where to begin in a partition for which no offset is stored. Default: `earliest`; without a group `latest`. */
  from?: StartPosition | undefined;
  /** What `message.value` is; called when that is read first. Default: the bytes. */
  decode?: ((value: Uint8Array | undefined) => T) | undefined;
  /**
   * When a message counts as done. `ack`: when the loop asks for the next one, the handler of `run`
   * resolves, or `message.ack()` is called: after a failure it is given again. `auto`: when it is
   * given, so that none is given twice, and some may be lost. `manual`: only by `message.ack()`.
   * Default: `ack`.
   */
  commit?: 'ack' | 'auto' | 'manual' | undefined;
  /** How often what is done is stored, 10 ms to 10 min; also when a partition moves, and by `close`. Default: 1 s. */
  commitInterval?: Duration | undefined;
  /** Bytes of records that wait to be given; about so much is fetched ahead. Default: 16 MiB. */
  maxBufferedBytes?: number | undefined;
  /** Bytes of one answer, over all partitions of a node, 1 KiB to 8 MiB; at most a quarter of `maxBufferedBytes`. Default: 1 MiB. */
  fetchBytes?: number | undefined;
  /** How long a node waits for records before it answers that there are none, at most 60 s. Default: 2 s. */
  fetchWait?: Duration | undefined;
  /** What to do when the records to be read next are gone: go on at the first or behind the last, or end. Default: `earliest`. */
  onOutOfRange?: 'earliest' | 'latest' | 'error' | undefined;
  /** How the group shares partitions; all members say the same. Default: `cooperative-sticky`. */
  strategy?: AssignmentStrategy | undefined;
  /**
   * Makes it a static member, up to 128 bytes: one that comes back under this id within the
   * `sessionTimeout` gets what it had, and nobody else's partitions move. Default: none.
   */
  instanceId?: string | undefined;
  /** Whether `close` gives the partitions to others at once. Default: true, for a static member false. */
  leaveOnClose?: boolean | undefined;
  /** After so long without a sign of life the partitions go to others, 1 s to 24 h. Default: 10 s. */
  sessionTimeout?: Duration | undefined;
  /** How long messages in hand may take when their partition is to move, 1 s to 1 h. Default: 60 s. */
  rebalanceTimeout?: Duration | undefined;
  /** Shown to people. Up to 128 bytes. */
  clientName?: string | undefined;
  /** Partitions that are read from now on. */
  onAssigned?: ((partitions: readonly TopicPartition[]) => void) | undefined;
  /** Partitions that were given up in order: what was done is stored. */
  onRevoked?: ((partitions: readonly TopicPartition[]) => void) | undefined;
  /**
   * Partitions that others may have by now: what was in hand, `unfinished`, counts for nothing here
   * and is given to them.
   */
  onLost?: ((partitions: readonly LostPartition[], error: HoldfastError) => void) | undefined;
  /** What went wrong and is tried again, and what was passed over. */
  onError?: ((error: HoldfastError) => void) | undefined;
}

/** A partition that was lost. */
export interface LostPartition extends TopicPartition {
  /** Offsets of messages that were given and not done. */
  readonly unfinished: readonly bigint[];
}

/** Options with their defaults, checked. */
export interface ResolvedConsumerOptions {
  readonly topics: readonly string[];
  readonly group: string | undefined;
  readonly from: StartPosition;
  readonly decode: ((value: Uint8Array | undefined) => unknown) | undefined;
  readonly commit: 'ack' | 'auto' | 'manual';
  readonly commitIntervalMs: number;
  readonly maxBufferedBytes: number;
  readonly fetchBytes: number;
  readonly fetchWaitMs: number;
  readonly onOutOfRange: 'earliest' | 'latest' | 'error';
  readonly strategy: AssignmentStrategy;
  readonly instanceId: string;
  readonly leaveOnClose: boolean;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly clientName: string;
  readonly onAssigned: (partitions: readonly TopicPartition[]) => void;
  readonly onRevoked: (partitions: readonly TopicPartition[]) => void;
  readonly onLost: (partitions: readonly LostPartition[], error: HoldfastError) => void;
  readonly onError: (error: HoldfastError) => void;
}

const LEAST_FETCH_BYTES = 1_024;

/** Checks options and fills in defaults. Error: INVALID_FIELD. */
export function resolveConsumerOptions<T>(options: ConsumerOptions<T>): ResolvedConsumerOptions {
  const topics = typeof options.topics === 'string' ? [options.topics] : [...new Set(options.topics)];
  within(topics.length, 'topics', 1, 256);
  const { group } = options;
  const maxBufferedBytes = within(options.maxBufferedBytes ?? 16_777_216, 'maxBufferedBytes', 1, 2 ** 40);
  const fetchBytes = within(options.fetchBytes ?? 1_048_576, 'fetchBytes', LEAST_FETCH_BYTES, 8_388_608);
  const ms = (duration: Duration, field: string, least: number, most: number) =>
    within(durationMs(duration, field), field, least, most);
  return Object.freeze({
    topics,
    group,
    from: checkStart(options.from ?? (group === undefined ? 'latest' : 'earliest')),
    decode: options.decode,
    commit: oneOf(options.commit ?? 'ack', 'commit', ['ack', 'auto', 'manual']),
    commitIntervalMs: ms(options.commitInterval ?? 1_000, 'commitInterval', 10, 600_000),
    maxBufferedBytes,
    // Some nodes can be asked at a time.
    fetchBytes: Math.min(fetchBytes, Math.max(LEAST_FETCH_BYTES, Math.floor(maxBufferedBytes / 4))),
    fetchWaitMs: ms(options.fetchWait ?? 2_000, 'fetchWait', 0, 60_000),
    onOutOfRange: oneOf(options.onOutOfRange ?? 'earliest', 'onOutOfRange', ['earliest', 'latest', 'error']),
    strategy: oneOf(
      options.strategy ?? 'cooperative-sticky',
      'strategy',
      STRATEGIES.map(([name]) => name),
    ),
    instanceId: options.instanceId ?? '',
    leaveOnClose: options.leaveOnClose ?? options.instanceId === undefined,
    sessionTimeoutMs: leaseTtlMs(options.sessionTimeout),
    rebalanceTimeoutMs: ms(options.rebalanceTimeout ?? 60_000, 'rebalanceTimeout', 1_000, 3_600_000),
    clientName: options.clientName ?? '',
    onAssigned: guarded(options.onAssigned),
    onRevoked: guarded(options.onRevoked),
    onLost: guarded(options.onLost),
    onError: guarded(options.onError),
  });
}

/** A callback that fails does not stop the consumer: its error goes to nobody, as that of a listener. */
function guarded<A extends unknown[]>(callback: ((...given: A) => void) | undefined): (...given: A) => void {
  return (...given) => {
    try {
      callback?.(...given);
    } catch (error) {
      void Promise.reject(error);
    }
  };
}

function checkStart(from: StartPosition): StartPosition {
  if (from instanceof Date) integer64(from.getTime(), 'from', true);
  else if (typeof from === 'object')
    for (const { offset } of from.offsets) integer64(offset, 'from.offsets', false);
  else oneOf(from, 'from', ['earliest', 'latest']);
  return from;
}

function oneOf<T extends string>(value: T, field: string, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  const limit = allowed.join(', ');
  throw invalid(field, `${field} is ${String(value)}, allowed are ${limit}`, String(value), limit);
}
