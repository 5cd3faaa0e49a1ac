import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  toBinary,
} from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import { ClusterService, GetStatusResponseSchema } from '@holdfast/proto/cluster/v1/cluster';
import { StatusSchema } from '@holdfast/proto/google/rpc/status';
import { ErrorSchema, Outcome } from '@holdfast/proto/error/v1/error';
import {
  DescribeKeyspaceResponseSchema,
  KeyspaceSchema,
  KeyspaceService,
} from '@holdfast/proto/kv/v1/keyspace';
import {
  BatchWriteResponseSchema,
  EntrySchema,
  GetResponseSchema,
  KvService,
  type Mutation,
  MutationResultSchema,
  type PipelineCall,
  type PipelineRequest,
  type PipelineResult,
  PipelineResponseSchema,
  PipelineResultSchema,
  ScanResponseSchema,
  type ScanRequest,
  type TransactRequest,
  TransactResponseSchema,
} from '@holdfast/proto/kv/v1/kv';
import { ERROR_TYPE_URL, errorToMessage } from '@holdfast/client/error-mapping';
import { HoldfastError } from '@holdfast/client/error';

/** Entries of a message of a scan. */
const SCAN_PART = 4;

interface Row {
  key: Uint8Array;
  value: Uint8Array;
  version: bigint;
}

/** The KV service over a Map, just enough for the client; the state of a fake node. */
export class FakeKv {
  readonly rows = new Map<string, Row>();
  readonly applied = new Map<string, PipelineResult['result']>();
  /** Every message that came through the pipeline. */
  readonly messages: PipelineRequest[] = [];
  #version = 0n;

  pipelineCall(request: PipelineRequest, call: PipelineCall): PipelineResult {
    const identity = `${Buffer.from(request.clientId).toString('hex')}/${call.sequence}`;
    let result = this.applied.get(identity);
    if (result === undefined || call.sequence === 0n) {
      result = this.#run(call);
      if (call.sequence > 0n) this.applied.set(identity, result);
    }
    return create(PipelineResultSchema, { id: call.id, result });
  }

  message(request: PipelineRequest): Uint8Array {
    this.messages.push(request);
    const results = request.calls.map((call) => this.pipelineCall(request, call));
    return toBinary(PipelineResponseSchema, create(PipelineResponseSchema, { results }));
  }

  #run(call: PipelineCall): PipelineResult['result'] {
    if (call.operation.case === 'get') return { case: 'get', value: this.get(call.operation.value.key) };
    try {
      return { case: 'mutation', value: this.mutate(call.operation.value!) };
    } catch (error) {
      return { case: 'error', value: errorToMessage(error as HoldfastError) };
    }
  }

  get(key: Uint8Array) {
    const row = this.rows.get(hex(key));
    return create(GetResponseSchema, row === undefined ? {} : { entry: create(EntrySchema, row) });
  }

  mutate(mutation: Mutation) {
    const { operation, key } = mutation;
    const row = this.rows.get(hex(key));
    if (operation.case === 'delete') {
      this.rows.delete(hex(key));
      return create(MutationResultSchema, { existed: row !== undefined });
    }
    if (operation.case === 'create' && row !== undefined) throw conflict('KEY_EXISTS', row);
    if (operation.case === 'compareAndSet') {
      const { expected } = operation.value;
      if (expected.case === 'expectedVersion' && row?.version !== expected.value) {
        throw conflict('VERSION_MISMATCH', row);
      }
      if (
        expected.case === 'expectedValue' &&
        (row === undefined || hex(row.value) !== hex(expected.value))
      ) {
        throw conflict('VALUE_MISMATCH', row);
      }
    }
    this.#version += 1n;
    if (operation.case === 'increment') {
      const counter =
        BigInt(row === undefined ? 0 : Buffer.from(row.value).toString()) + (operation.value.delta ?? 1n);
      this.rows.set(hex(key), { key, value: Buffer.from(String(counter)), version: this.#version });
      return create(MutationResultSchema, { version: this.#version, counter });
    }
    this.rows.set(hex(key), { key, value: operation.value!.value, version: this.#version });
    return create(MutationResultSchema, { version: this.#version });
  }

  scan(request: ScanRequest) {
    const prefix = request.selection.case === 'prefix' ? hex(request.selection.value) : '';
    const after = hex(request.continuation.subarray(1));
    const rows = [...this.rows]
      .filter(([key]) => key.startsWith(prefix) && (after === '' || key > after))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const taken = rows.slice(0, request.limit || rows.length);
    const parts = Array.from({ length: Math.ceil(taken.length / SCAN_PART) }, (_, index) =>
      taken.slice(index * SCAN_PART, (index + 1) * SCAN_PART).map(([, row]) => row),
    );
    return parts.map((part) =>
      create(ScanResponseSchema, {
        entries: part.map((row) => create(EntrySchema, row)),
        continuation:
          part.at(-1) === rows.at(-1)![1] ? new Uint8Array(0) : Buffer.from([1, ...part.at(-1)!.key]),
      }),
    );
  }

  transact(request: TransactRequest) {
    const succeeded = request.comparisons.every(({ key, target }) => {
      const row = this.rows.get(hex(key));
      if (target.case === 'exists') return (row !== undefined) === target.value;
      if (target.case === 'version') return (row?.version ?? 0n) === target.value;
      return row !== undefined && hex(row.value) === hex(target.value!);
    });
    const operations = succeeded ? request.thenOperations : request.elseOperations;
    const results = operations.map(({ operation }) => ({
      result:
        operation.case === 'get'
          ? { case: 'get' as const, value: this.get(operation.value) }
          : { case: 'mutation' as const, value: this.mutate(operation.value!) },
    }));
    return create(TransactResponseSchema, { succeeded, results });
  }
}

/** A response of DescribeKeyspace with one partition. */
export function onePartition(name: string) {
  const partitions = [{ group: 7n, firstHash: 0, lastHash: 0xffff_ffff }];
  return create(DescribeKeyspaceResponseSchema, { keyspace: create(KeyspaceSchema, { name, partitions }) });
}

/** Which services a fake server offers, and what goes wrong in it. */
export interface FakeServerOptions {
  pipeline?: boolean;
  /** Called for each pipeline message; true: break the stream instead of answering. */
  breakStream?: (count: number) => boolean;
}

/** A real grpc-js server over a FakeKv. */
export async function startServer(kv: FakeKv, port = 0, options: FakeServerOptions = {}) {
  const server = new grpc.Server();
  server.addService(
    definition(KvService, options.pipeline === false ? ['pipeline'] : []),
    kvHandlers(kv, options),
  );
  server.addService(definition(KeyspaceService, []), {
    describeKeyspace: (call: Unary<{ name: string }>, done: Done) =>
      call.request.name === 'missing' ? done(unknownKeyspace()) : done(null, onePartition(call.request.name)),
  });
  server.addService(definition(ClusterService, []), {
    getStatus: (_call: unknown, done: Done) =>
      done(null, create(GetStatusResponseSchema, { clusterId: 'c1' })),
  });
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, actual) =>
      error === null ? resolve(actual) : reject(error),
    );
  });
  return { port: bound, endpoint: `127.0.0.1:${bound}`, stop: () => server.forceShutdown() };
}

type Unary<T> = { request: T };
type Done = (error: Partial<grpc.ServiceError> | null, response?: unknown) => void;

function kvHandlers(kv: FakeKv, options: FakeServerOptions): grpc.UntypedServiceImplementation {
  let count = 0;
  return {
    get: (call: Unary<{ key: Uint8Array }>, done: Done) => done(null, kv.get(call.request.key)),
    batchWrite: (call: Unary<{ mutations: Mutation[] }>, done: Done) => {
      const results = call.request.mutations.map((mutation) => ({
        result: { case: 'applied' as const, value: kv.mutate(mutation) },
      }));
      done(null, create(BatchWriteResponseSchema, { results }));
    },
    transact: (call: Unary<TransactRequest>, done: Done) => done(null, kv.transact(call.request)),
    scan: (call: grpc.ServerWritableStream<ScanRequest, unknown>) => {
      for (const response of kv.scan(call.request)) call.write(response);
      call.end();
    },
    pipeline: (call: grpc.ServerDuplexStream<PipelineRequest, unknown>) => {
      call.on('data', (request: PipelineRequest) => {
        const answer = fromBinary(PipelineResponseSchema, kv.message(request));
        count += 1;
        if (options.breakStream?.(count)) call.emit('error', { code: 14, details: 'broken' });
        else call.write(answer);
      });
      call.on('end', () => call.end());
    },
  };
}

function definition(service: DescService, without: string[]): grpc.ServiceDefinition {
  const methods = service.methods.filter((method) => !without.includes(method.localName));
  return Object.fromEntries(methods.map((method) => [method.localName, methodDefinition(method)]));
}

function methodDefinition(method: DescMethod): grpc.MethodDefinition<unknown, unknown> {
  const write = (schema: DescMessage) => (message: unknown) =>
    Buffer.from(toBinary(schema, message as Parameters<typeof toBinary>[1]));
  const read = (schema: DescMessage) => (bytes: Buffer) => fromBinary(schema, bytes);
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
    responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
    requestSerialize: write(method.input),
    requestDeserialize: read(method.input),
    responseSerialize: write(method.output),
    responseDeserialize: read(method.output),
  };
}

function unknownKeyspace() {
  const detail = create(ErrorSchema, {
    code: 5,
    reason: 'KEYSPACE_UNKNOWN',
    message: 'no keyspace "missing" [KEYSPACE_UNKNOWN]',
    outcome: Outcome.NOT_APPLIED,
    field: 'name',
  });
  const details = [{ typeUrl: ERROR_TYPE_URL, value: toBinary(ErrorSchema, detail) }];
  const status = create(StatusSchema, { code: 5, message: detail.message, details });
  const metadata = new grpc.Metadata();
  metadata.set('grpc-status-details-bin', Buffer.from(toBinary(StatusSchema, status)));
  return { code: 5, details: detail.message, metadata };
}

function conflict(reason: 'KEY_EXISTS' | 'VERSION_MISMATCH' | 'VALUE_MISMATCH', row: Row | undefined) {
  return new HoldfastError({
    reason,
    message: 'the key is another',
    outcome: 'NOT_APPLIED',
    currentVersion: row?.version,
  });
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
