/** What a benchmark needs of a system under test: how it is started, and the operations. */

/** A system that a benchmark starts by itself, with a fresh directory and free ports. */
export interface System {
  readonly name: string;
  /** Versions and the durability that it runs with, for the record. */
  readonly description: string;
  /** Processes that it started; none when it is embedded. */
  readonly pids: readonly number[];
  /** Starts it and connects; the client is the best that Node.js has for it. */
  connect(): Promise<Driver>;
  /** Ends what was started and removes its directory. */
  stop(): Promise<void>;
}

/** Operations on a running system. Each resolves when the system has acknowledged it. */
export interface Driver {
  put(key: string, value: Uint8Array): Promise<unknown>;
  get(key: string): Promise<unknown>;
  increment(key: string): Promise<unknown>;
  /** Reads up to `limit` entries from `start` on, in order; undefined: the system has no such thing. */
  scan?(start: string, limit: number): Promise<unknown>;
  /** Writes a key of the configuration: what etcd calls a key. */
  configPut?(key: string, value: Uint8Array): Promise<unknown>;
  /** Takes a lock that nobody else wants, and gives it back. */
  lockCycle?(name: string): Promise<unknown>;
  /**
   * Follows keys with a prefix over a connection of its own, so many times at once; calls back
   * for each change and watcher. Resolves when all have begun, with how to end them.
   */
  follow?(prefix: string, watchers: number, onChange: (key: string) => void): Promise<() => Promise<void>>;
  /** Appends a record to the topic of the measurements. */
  produce?(value: Uint8Array): Promise<unknown>;
  /** Reads the topic from its first record on; resolves when so many have come. */
  consume?(records: number): Promise<void>;
  /** Reads what comes from now on, over a connection of its own. Resolves with how to end it. */
  receive?(onRecord: (value: Uint8Array) => void): Promise<() => Promise<void>>;
  /** Makes a unique ID. */
  id?(): Promise<unknown>;
  /** Makes one with a call of its own. */
  idCall?(): Promise<unknown>;
  /** Counters of the server, where it tells them. */
  metrics?(): Promise<ServerCounters>;
  /** Figures of the server that rise and fall, where it tells them. */
  gauges?(): Promise<ServerGauges>;
  close(): Promise<void>;
}

/** What Holdfast's `/metrics` says, cumulative since the start. */
export interface ServerCounters {
  readonly operations: number;
  readonly operationSeconds: number;
  readonly syncs: number;
  readonly syncSeconds: number;
  readonly batches: number;
  readonly batchRecords: number;
  readonly batchBytes: number;
}

/** What Holdfast's `/metrics` says of this moment, over all nodes. */
export interface ServerGauges {
  readonly memoryBytes: number;
  /** Applied and not yet in the ordered store. */
  readonly overlayBytes: number;
  readonly storeLagEntries: number;
}

/** How a system is to be started. */
export interface SystemOptions {
  readonly nodes: number;
  readonly callers: number;
  readonly valueBytes: number;
}

/** A system that cannot be started here, and why; the benchmark goes on without it. */
export class SystemMissing extends Error {
  override readonly name = 'SystemMissing';
}
