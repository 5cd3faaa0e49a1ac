import { create } from '@bufbuild/protobuf';
import {
  ClusterService,
  GetStatusRequestSchema,
  type GetStatusResponse,
} from '@holdfast/proto/cluster/v1/cluster';
import { DescribeKeyspaceRequestSchema, KeyspaceService } from '@holdfast/proto/kv/v1/keyspace';
import { Backups } from './backups.ts';
import { Broker } from './broker/broker.ts';
import type { Consumer } from './broker/consumer.ts';
import type { ConsumerOptions } from './broker/consumer-options.ts';
import type { Groups } from './broker/groups.ts';
import type { Producer } from './broker/producer.ts';
import type { ProducerOptions } from './broker/producer-options.ts';
import type { Topics } from './broker/topics.ts';
import type { Clock } from './clock.ts';
import { Cluster } from './cluster.ts';
import { Config } from './config/config.ts';
import type { ViewOptions } from './config/config-view.ts';
import { type FlagRule, Flags, readFlagRule } from './config/flags.ts';
import { clientClosed, type ClientCore } from './core.ts';
import { Deadlines } from './deadlines.ts';
import { Discovery } from './discovery.ts';
import { type Duration, durationMs, timeoutMs } from './duration.ts';
import { Endpoints } from './endpoints.ts';
import { Ids } from './ids/ids.ts';
import { listSequences, NamedSequence, type SequenceSummary } from './ids/named-sequence.ts';
import { LeaderHint } from './leader-hint.ts';
import { Keyspace } from './keyspace.ts';
import type { CallOptions } from './keyspace-options.ts';
import { Keyspaces } from './keyspaces.ts';
import type { ResolvedOptions } from './options.ts';
import { PartitionDirectory } from './partition-directory.ts';
import { Pipeline } from './pipeline.ts';
import type { Random } from './random.ts';
import { Election } from './session/election.ts';
import type { Lease } from './session/lease.ts';
import { type LeaseOptions, Leases } from './session/leases.ts';
import { Locks } from './session/locks.ts';
import { Services } from './session/services.ts';
import { Sessions } from './session/sessions.ts';
import { Sequences } from './sequences.ts';
import type { Transport } from './transport.ts';
import { callUnary } from './unary.ts';
import type { Key } from './values.ts';

/** The outside world of a client. */
export interface Ports {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
}

/**
 * A client of one cluster. One for each process is enough; it is meant to live as long as
 * the process does, and keeps it alive until it is closed.
 */
export class Holdfast implements AsyncDisposable {
  /** Lists and changes the members of the cluster. */
  readonly cluster: Cluster;
  /** Creates, describes, lists and drops keyspaces. */
  readonly keyspaces: Keyspaces;
  /** Copies keyspaces out of the cluster and into it. */
  readonly backups: Backups;
  /** The configuration tree: keys with revisions, transactions, watches. */
  readonly config: Config;
  /** Times to live, and what ends with them. */
  readonly leases: Leases;
  /** Locks: exclusive, shared, semaphores. */
  readonly lock: Locks;
  /** Unique IDs, in order of time. */
  readonly ids: Ids;
  /** Topics: named logs of records. */
  readonly topics: Topics;
  /** Consumer groups, as an administrator sees them. */
  readonly groups: Groups;
  readonly #broker: Broker;
  readonly #core: ClientCore;
  readonly #pipeline: Pipeline;
  readonly #directory: PartitionDirectory;
  readonly #sessions: Sessions;
  readonly #closing = new AbortController();
  readonly #ended = new AbortController();
  #closed: Promise<void> | undefined;

  /** @internal Use `connect`. */
  constructor(options: ResolvedOptions, ports: Ports) {
    this.#core = {
      ...ports,
      endpoints: new Endpoints(options.endpoints, ports.clock, () => {
        if (options.discover && !this.#closing.signal.aborted) new Discovery(this.#core);
      }),
      deadlines: new Deadlines(ports.clock),
      sequences: new Sequences(ports.random.bytes(16)),
      coordinator: new LeaderHint(),
      timeoutMs: options.timeoutMs,
      maxInFlightBytes: options.maxInFlightBytes,
      closing: this.#closing.signal,
    };
    this.#directory = new PartitionDirectory((name) => this.#describe(name));
    this.#pipeline = new Pipeline(this.#core, this.#directory);
    this.cluster = new Cluster(this.#core);
    this.keyspaces = new Keyspaces(this.#core);
    this.backups = new Backups(this.#core);
    this.config = new Config(this.#core);
    this.leases = new Leases(this.#core);
    this.#sessions = new Sessions(this.#core, this.leases);
    this.lock = new Locks(this.#core, this.#sessions);
    this.ids = new Ids(this.#core);
    this.#broker = new Broker(this.#core, this.leases);
    this.topics = this.#broker.topics;
    this.groups = this.#broker.groups;
  }

  /** @internal How many nodes it knows of. */
  get knownNodes(): number {
    return this.#core.endpoints.all.length;
  }

  /** The keys of a keyspace; asks nobody, so an unknown name shows in the first call. */
  keyspace(name: string): Keyspace {
    return new Keyspace(name, {
      core: this.#core,
      pipeline: this.#pipeline,
      directory: this.#directory,
      ended: this.#ended.signal,
    });
  }

  /** A lease of its own for locks and elections to hang on, kept alive by this client; see `leases.grant`. */
  session(options: Omit<LeaseOptions, 'keepAlive'> = {}): Promise<Lease> {
    return this.leases.grant(options);
  }

  /** The election of a name; asks nobody. */
  election(name: string): Election {
    return new Election(this.#core, this.leases, name);
  }

  /** The registry of the instances of a service; asks nobody. */
  services(name: string): Services {
    return new Services(this.#core, this.config, this.leases, name);
  }

  /**
   * Feature flags under a prefix of the configuration (default `flags/`), filled before it
   * resolves. `onError`: see `config.view`.
   */
  async flags(prefix: Key = 'flags/', options: ViewOptions = {}): Promise<Flags> {
    return new Flags(await this.config.view<FlagRule>(prefix, readFlagRule, options));
  }

  /**
   * A producer of records, for one topic or, with a name in each record, for any. Asks nobody; what
   * is wrong shows in the first `send`. Errors: INVALID_FIELD, COMPRESSION_UNKNOWN.
   */
  producer(options: string | ProducerOptions = {}): Producer {
    return this.#broker.producer(typeof options === 'string' ? { topic: options } : options);
  }

  /**
   * A consumer of topics, alone or as a member of a group; it begins at once. Errors: INVALID_FIELD,
   * CLIENT_CLOSED; what else is wrong shows when it is read.
   */
  consumer<T = Uint8Array | undefined>(options: ConsumerOptions<T>): Consumer<T> {
    return this.#broker.consumer(options);
  }

  /** The sequence of a name, [a-z0-9._-]{1,64}; asks nobody. Error: SEQUENCE_NAME_INVALID. */
  sequence(name: string): NamedSequence {
    return new NamedSequence(this.#core, name);
  }

  /** All sequences, by name, with the last number that was taken. */
  sequences(options: CallOptions = {}): Promise<SequenceSummary[]> {
    return listSequences(this.#core, options);
  }

  /** What the asked node knows of the cluster's nodes, itself first. */
  async status(options: CallOptions = {}): Promise<GetStatusResponse> {
    const time = options.timeout === undefined ? undefined : timeoutMs(options.timeout);
    const callOptions = { timeoutMs: time, signal: options.signal };
    return callUnary(
      this.#core,
      ClusterService.method.getStatus,
      create(GetStatusRequestSchema),
      callOptions,
    );
  }

  /**
   * Refuses new calls, waits for those under way up to `timeout` (default 5 s), ends the
   * rest with CLIENT_CLOSED, and closes the connections. Afterwards nothing of the client
   * keeps the process alive. Calling it again gives the same promise.
   */
  close(options: { timeout?: Duration } = {}): Promise<void> {
    this.#closed ??= this.#close(durationMs(options.timeout ?? 5_000, 'timeout'));
    return this.#closed;
  }

  /** `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(waitMs: number): Promise<void> {
    const { clock, deadlines, transport } = this.#core;
    this.#closing.abort(clientClosed());
    const broker = this.#broker.close(Math.max(0, waitMs));
    this.#sessions.close();
    this.leases.close();
    const idle = new Promise<void>((resolve) => {
      const timer = clock.setTimer(Math.max(0, waitMs), resolve);
      deadlines.whenIdle(() => {
        timer.cancel();
        resolve();
      });
    });
    await Promise.all([broker, idle]);
    this.#ended.abort(clientClosed());
    deadlines.close();
    this.#pipeline.close();
    transport.close();
  }

  async #describe(name: string) {
    const request = create(DescribeKeyspaceRequestSchema, { name });
    const method = KeyspaceService.method.describeKeyspace;
    const { keyspace } = await callUnary(this.#core, method, request, { timeoutMs: 1_000, once: true });
    return keyspace;
  }
}
