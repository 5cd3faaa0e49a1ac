/** An HTTP port over key-value handlers in memory, with a clock that stands still. */
import { connect, type Socket } from 'node:net';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { Clock, Timer } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import { ClusterService, GetStatusResponseSchema } from '@holdfast/proto/cluster/v1/cluster';
import {
  BatchGetResponseSchema,
  BatchWriteResponseSchema,
  CompareAndSetResponseSchema,
  CreateResponseSchema,
  DeleteResponseSchema,
  EntrySchema,
  GetResponseSchema,
  IncrementResponseSchema,
  KvService,
  PutResponseSchema,
  ScanResponseSchema,
  TransactResponseSchema,
  type ScanRequest,
} from '@holdfast/proto/kv/v1/kv';
import {
  CreateKeyspaceResponseSchema,
  DescribeKeyspaceResponseSchema,
  DropKeyspaceResponseSchema,
  KeyspaceSchema,
  KeyspaceService,
  ListKeyspacesResponseSchema,
  type Keyspace,
} from '@holdfast/proto/kv/v1/keyspace';
import { serve, type CallContext, type ServedService } from '../../node/services/handler.ts';
import { CallEdge, type CallRecord } from '../../node/transport/call-edge.ts';
import { HttpServer, type HttpServerOptions } from '../../node/transport/http-server.ts';
import { openAccess } from '../../node/services/access.ts';

export class ManualClock implements Clock {
  #nowMs = 5_000;
  readonly #timers = new Set<{ readonly atMs: number; readonly callback: () => void }>();

  wallMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  afterTurn(callback: () => void): void {
    setImmediate(callback);
  }

  get pending(): number {
    return this.#timers.size;
  }

  pass(ms: number): void {
    this.#nowMs += ms;
    const due = Array.from(this.#timers).filter(({ atMs }) => atMs <= this.#nowMs);
    for (const timer of due) {
      if (this.#timers.delete(timer)) timer.callback();
    }
  }
}

interface Stored {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly version: bigint;
  readonly expiresAtMs?: bigint;
}

/** What the handlers hold, and what a test makes them do. */
export class FakeState {
  readonly rows = new Map<string, Stored>();
  readonly keyspaces = new Map<string, Keyspace>();
  readonly contexts: CallContext[] = [];
  version = 0n;
  /** Thrown by every call. */
  failure: unknown;
  /** Awaited by every call. */
  gate: Promise<void> | undefined;
  onCall: () => void = () => undefined;
  /** Messages of a scan; each call of the generator's end is counted. */
  partEntries = 2;
  scansEnded = 0;

  async enter(context: CallContext): Promise<void> {
    this.contexts.push(context);
    this.onCall();
    await this.gate;
    if (this.failure !== undefined) throw this.failure;
  }

  put(key: Uint8Array, value: Uint8Array, ttlMs?: bigint): { version: bigint } {
    if (key.length === 0)
      throw new HoldfastError({
        reason: 'KEY_EMPTY',
        message: 'empty',
        field: 'key',
        outcome: 'NOT_APPLIED',
      });
    const version = ++this.version;
    this.rows.set(id(key), {
      key,
      value,
      version,
      ...(ttlMs === undefined ? {} : { expiresAtMs: 1_000_000n + ttlMs }),
    });
    return { version };
  }

  require(key: Uint8Array, expected: bigint): void {
    const current = this.rows.get(id(key))?.version;
    if (current === expected) return;
    throw new HoldfastError({
      reason: 'VERSION_MISMATCH',
      message: 'other version',
      outcome: 'NOT_APPLIED',
      currentVersion: current,
    });
  }
}

const id = (key: Uint8Array) => Buffer.from(key).toString('latin1');

export function fakeServices(state: FakeState): ServedService[] {
  return [fakeKv(state), fakeKeyspaces(state), fakeCluster(state)];
}

function fakeKv(state: FakeState): ServedService {
  return serve(KvService, {
    async get(context, { key }) {
      await state.enter(context);
      const row = state.rows.get(id(key));
      return create(GetResponseSchema, row === undefined ? {} : { entry: entry(row, false) });
    },
    async put(context, { key, value, ttlMs }) {
      await state.enter(context);
      return create(PutResponseSchema, state.put(key, value, ttlMs));
    },
    async create(context, { key, value, ttlMs }) {
      await state.enter(context);
      const current = state.rows.get(id(key));
      if (current !== undefined)
        throw new HoldfastError({
          reason: 'KEY_EXISTS',
          message: 'it exists',
          outcome: 'NOT_APPLIED',
          currentVersion: current.version,
        });
      return create(CreateResponseSchema, state.put(key, value, ttlMs));
    },
    async compareAndSet(context, { key, value, ttlMs, expected }) {
      await state.enter(context);
      state.require(key, expected.value as bigint);
      return create(CompareAndSetResponseSchema, state.put(key, value, ttlMs));
    },
    async increment(context, { key, delta }) {
      await state.enter(context);
      const value =
        BigInt(Buffer.from(state.rows.get(id(key))?.value ?? []).toString() || '0') + (delta ?? 1n);
      return create(IncrementResponseSchema, { value, ...state.put(key, Buffer.from(String(value))) });
    },
    async delete(context, { key, expectedVersion }) {
      await state.enter(context);
      if (expectedVersion !== undefined) state.require(key, expectedVersion);
      return create(DeleteResponseSchema, { existed: state.rows.delete(id(key)) });
    },
    async *scan(context, request) {
      await state.enter(context);
      try {
        yield* scanParts(state, request);
      } finally {
        state.scansEnded++;
      }
    },
    batchGet: () => Promise.resolve(create(BatchGetResponseSchema)),
    batchWrite: () => Promise.resolve(create(BatchWriteResponseSchema)),
    transact: () => Promise.resolve(create(TransactResponseSchema)),
    pipeline: () => undefined,
  });
}

function* scanParts(state: FakeState, request: ScanRequest) {
  const { selection, limit, continuation, keysOnly } = request;
  const prefix = selection.case === 'prefix' ? id(selection.value) : '';
  const start = selection.case === 'range' ? id(selection.value.start) : '';
  const end =
    selection.case === 'range' && selection.value.end.length > 0 ? id(selection.value.end) : undefined;
  const after = id(continuation);
  const keys = [...state.rows.keys()]
    .sort()
    .filter(
      (key) => key.startsWith(prefix) && key >= start && key > after && (end === undefined || key < end),
    );
  const taken = limit === 0 ? keys : keys.slice(0, limit);
  for (let from = 0; from < taken.length; from += state.partEntries) {
    const part = taken.slice(from, from + state.partEntries);
    const more = from + part.length < keys.length;
    yield create(ScanResponseSchema, {
      entries: part.map((key) => entry(state.rows.get(key)!, keysOnly)),
      continuation: more ? Buffer.from(part.at(-1)!, 'latin1') : new Uint8Array(0),
    });
  }
}

function entry(row: Stored, keysOnly: boolean) {
  return create(EntrySchema, { ...row, value: keysOnly ? new Uint8Array(0) : row.value } as MessageInitShape<
    typeof EntrySchema
  >);
}

function fakeKeyspaces(state: FakeState): ServedService {
  const find = (name: string) => {
    const keyspace = state.keyspaces.get(name);
    if (keyspace === undefined)
      throw new HoldfastError({
        reason: 'KEYSPACE_UNKNOWN',
        message: `no ${name}`,
        field: 'name',
        outcome: 'NOT_APPLIED',
      });
    return keyspace;
  };
  return serve(KeyspaceService, {
    async createKeyspace(context, { name, partitions, maxKeyBytes, maxValueBytes }) {
      await state.enter(context);
      if (state.keyspaces.has(name))
        throw new HoldfastError({
          reason: 'KEYSPACE_EXISTS',
          message: 'there is one',
          outcome: 'NOT_APPLIED',
        });
      const arcs = Array.from({ length: partitions ?? 8 }, (_, group) => ({ group: BigInt(group) }));
      const keyspace = create(KeyspaceSchema, {
        name,
        maxKeyBytes: maxKeyBytes ?? 4_096,
        maxValueBytes: maxValueBytes ?? 1_048_576,
        partitions: arcs,
      });
      state.keyspaces.set(name, keyspace);
      return create(CreateKeyspaceResponseSchema, { keyspace });
    },
    async describeKeyspace(context, { name }) {
      await state.enter(context);
      return create(DescribeKeyspaceResponseSchema, { keyspace: find(name) });
    },
    async listKeyspaces(context) {
      await state.enter(context);
      return create(ListKeyspacesResponseSchema, { keyspaces: [...state.keyspaces.values()] });
    },
    async dropKeyspace(context, { name }) {
      await state.enter(context);
      state.keyspaces.delete(find(name).name);
      return create(DropKeyspaceResponseSchema);
    },
  });
}

function fakeCluster(state: FakeState): ServedService {
  const notAsked = () => Promise.reject(new Error('nobody asks this of the rig'));
  return serve(ClusterService, {
    listMembers: notAsked,
    watchMembers: () => {
      throw new Error('nobody asks this of the rig');
    },
    addMember: notAsked,
    removeMember: notAsked,
    replaceMember: notAsked,
    transferLeaders: notAsked,
    async getStatus(context) {
      await state.enter(context);
      return create(GetStatusResponseSchema, { clusterId: 'c0ffee', nodes: [{ name: 'n1', pid: 7 }] });
    },
  });
}

export class HttpRig {
  readonly state = new FakeState();
  readonly clock = new ManualClock();
  readonly records: CallRecord[] = [];
  readonly defects: unknown[] = [];
  refusal: HoldfastError | undefined;
  isLive = true;
  readiness = { ready: true, reason: '' };
  readonly edge: CallEdge;
  readonly server: HttpServer;
  #recorded: (() => void)[] = [];

  constructor(options: Partial<HttpServerOptions> = {}) {
    const random = {
      u32: () => 1,
      float: () => 0.5,
      bytes: (length: number) => new Uint8Array(length).fill(0xab),
    };
    this.edge = new CallEdge({
      clock: this.clock,
      random,
      authorise: openAccess,
      inFlightBytes: 64 * 1024 * 1024,
      refusal: () => this.refusal,
      observe: (record) => {
        this.records.push(record);
        for (const resolve of this.#recorded.splice(0)) resolve();
      },
      onDefect: (_, __, error) => this.defects.push(error),
    });
    this.server = new HttpServer({
      edge: this.edge,
      services: fakeServices(this.state),
      clock: this.clock,
      headerBytes: 8_192,
      connections: 100,
      metrics: () => Promise.resolve({ contentType: 'text/plain; version=0.0.4', body: 'holdfast_up 1\n' }),
      live: () => this.isLive,
      ready: () => this.readiness,
      ...options,
    });
  }

  static async start(options: Partial<HttpServerOptions> = {}): Promise<HttpRig> {
    const rig = new HttpRig(options);
    await rig.server.listen('127.0.0.1', 0);
    return rig;
  }

  get port(): number {
    return this.server.address!.port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, init);
  }

  /** A plain TCP connection. */
  socket(): Socket {
    return connect(this.port, '127.0.0.1');
  }

  /** Sends bytes and gives all that comes back until the connection ends. */
  raw(bytes: string | Buffer): Promise<string> {
    return new Promise((resolve) => {
      const socket = this.socket();
      const chunks: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => chunks.push(chunk));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
      socket.write(bytes);
    });
  }

  /** Resolves with the next finished call. */
  async recorded(): Promise<CallRecord> {
    await new Promise<void>((resolve) => this.#recorded.push(resolve));
    return this.records.at(-1)!;
  }

  /** Resolves when a handler is next entered. */
  entered(): Promise<void> {
    return new Promise((resolve) => (this.state.onCall = resolve));
  }

  async stop(): Promise<void> {
    const closed = this.server.close(1);
    this.clock.pass(1);
    await closed;
  }
}
