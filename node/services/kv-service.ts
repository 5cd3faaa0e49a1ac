/** `holdfast.kv.v1.KvService`. */
import { create } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import type { HoldfastError } from '@holdfast/client/error';
import { errorToMessage } from '@holdfast/client/error-mapping';
import {
  BatchGetResponseSchema,
  BatchWriteResponseSchema,
  CompareAndSetResponseSchema,
  CreateResponseSchema,
  DeleteResponseSchema,
  IncrementResponseSchema,
  KvService,
  MutationSchema,
  PutResponseSchema,
  ScanResponseSchema,
  TransactResponseSchema,
  type BatchWriteRequest,
  type BatchWriteResult,
  type Mutation,
  type TransactRequest,
  type WriteOptions,
} from '@holdfast/proto/kv/v1/kv';
import type { KeyValue } from '../kv/key-value.ts';
import type { Keyspaces, OpenKeyspace } from '../kv/keyspaces.ts';
import type { MutationCommand, TransactCommand, WriteContext } from '../kv/kv-command.ts';
import type { MutationOutcome } from '../kv/kv-outcome.ts';
import { checkBatch, checkKey, refuse } from '../kv/limits.ts';
import { serve, type CallContext, type Handlers, type ServedService } from './handler.ts';
import {
  asHoldfastError,
  checkDistinctWrites,
  comparisonCommand,
  continuationAfter,
  entryMessage,
  getMessage,
  maxStalenessMs,
  mutationCommand,
  mutationMessage,
  operationCommand,
  operationMessages,
  scanSelection,
  writeContext,
} from './kv-messages.ts';
import { KvPipeline, type PipelineDependencies } from './kv-pipeline.ts';

/** Keys of a BatchGet that are read at a time: they share what it takes to know that they are up to date. */
const KEYS_AT_ONCE = 16;
/** Bytes of values that one BatchGet may answer with: a message is at most 16 MiB. */
const MAX_ANSWER_BYTES = 15 * 1024 * 1024;

export interface KvServiceOptions extends PipelineDependencies {
  readonly kv: KeyValue;
  readonly keyspaces: Keyspaces;
  readonly clock: Clock;
}

/** The key-value service over a node's features. */
export function kvService(options: KvServiceOptions): ServedService {
  return serve(KvService, {
    ...reads(options),
    ...writes(options),
    ...batches(options),
    pipeline: (context, stream) => void new KvPipeline(options, stream, context),
  });
}

type KvHandlers = Handlers<typeof KvService>;

function reads({ kv, keyspaces }: KvServiceOptions): Pick<KvHandlers, 'get' | 'batchGet' | 'scan'> {
  return {
    async get({ isRouted, deadlineMs }, request) {
      const keyspace = await keyspaces.find(request.keyspace);
      checkKey(request.key, keyspace);
      const terms = { isRouted, deadlineMs, maxStalenessMs: maxStalenessMs(request.options) };
      const found = await kv.get(keyspace, request.key, undefined, terms);
      return getMessage(request.key, found);
    },

    async batchGet({ deadlineMs, signal }, request) {
      const keyspace = await keyspaces.find(request.keyspace);
      checkBatch(request.keys.length, 0, 'keys');
      // No node need have replicas of all, so nobody could route the call.
      const terms = { isRouted: false, deadlineMs, maxStalenessMs: maxStalenessMs(request.options) };
      for (const key of request.keys) checkKey(key, keyspace, 'keys');
      const results = [];
      let bytes = 0;
      for (let at = 0; at < request.keys.length && !signal.aborted; at += KEYS_AT_ONCE) {
        const keys = request.keys.slice(at, at + KEYS_AT_ONCE);
        const found = await Promise.all(keys.map(async (key) => kv.get(keyspace, key, undefined, terms)));
        for (const [position, stored] of found.entries()) {
          bytes += keys[position]!.byteLength + (stored?.value.byteLength ?? 0);
          results.push(getMessage(keys[position]!, stored));
        }
        if (bytes > MAX_ANSWER_BYTES) throw answerTooLarge();
      }
      return create(BatchGetResponseSchema, { results });
    },

    async *scan({ signal, deadlineMs }, request) {
      const keyspace = await keyspaces.find(request.keyspace);
      const terms = { deadlineMs, maxStalenessMs: maxStalenessMs(request.options) };
      const selection = scanSelection(request);
      for await (const part of kv.scan(keyspace, selection, terms)) {
        if (signal.aborted) return;
        const last = part.entries.at(-1);
        yield create(ScanResponseSchema, {
          entries: part.entries.map(({ key, stored }) => entryMessage(key, stored, request.keysOnly)),
          continuation: part.more && last !== undefined ? continuationAfter(last.key) : new Uint8Array(0),
        });
      }
    },
  };
}

function writes(
  options: KvServiceOptions,
): Pick<KvHandlers, 'put' | 'create' | 'compareAndSet' | 'increment' | 'delete'> {
  /** The unary forms are one mutation each. */
  const mutate = async (context: CallContext, request: SingleWrite, operation: Mutation['operation']) => {
    const keyspace = await findForWrite(options.keyspaces, request.keyspace);
    const command = mutationCommand(create(MutationSchema, { key: request.key, operation }), keyspace);
    return written(options.kv, keyspace, command, writeContext(request.options), context);
  };
  return {
    async put(context, request) {
      const { version } = await mutate(context, request, message('put', request));
      return create(PutResponseSchema, { version: BigInt(version) });
    },
    async create(context, request) {
      const { version } = await mutate(context, request, message('create', request));
      return create(CreateResponseSchema, { version: BigInt(version) });
    },
    async compareAndSet(context, request) {
      const { version } = await mutate(context, request, message('compareAndSet', request));
      return create(CompareAndSetResponseSchema, { version: BigInt(version) });
    },
    async increment(context, request) {
      const { version, counter } = await mutate(context, request, message('increment', request));
      return create(IncrementResponseSchema, { version: BigInt(version), value: counter ?? 0n });
    },
    async delete(context, request) {
      const { existed } = await mutate(context, request, message('delete', request));
      return create(DeleteResponseSchema, { existed: existed ?? false });
    },
  };
}

interface SingleWrite {
  readonly keyspace: string;
  readonly key: Uint8Array;
  readonly options?: WriteOptions | undefined;
}

/** The fields of a unary request have the names of the mutation's, so the request stands for it. */
function message(name: NonNullable<Mutation['operation']['case']>, request: object): Mutation['operation'] {
  return { case: name, value: request } as unknown as Mutation['operation'];
}

function answerTooLarge(): HoldfastError {
  const message = `the values are more than ${MAX_ANSWER_BYTES} bytes together. Nothing was read; ask for fewer keys.`;
  return refuse('BATCH_TOO_LARGE', 'keys', message, '', String(MAX_ANSWER_BYTES));
}

/** Proposes a mutation and waits for its end. */
function written(
  kv: KeyValue,
  keyspace: OpenKeyspace,
  command: MutationCommand,
  context: WriteContext,
  { deadlineMs, isRouted }: CallContext,
): Promise<MutationOutcome> {
  return new Promise((resolve, reject) => {
    const sink = { onDone: resolve, onError: reject };
    kv.mutate(keyspace, command, context, deadlineMs, sink, undefined, isRouted);
  });
}

function batches(options: KvServiceOptions): Pick<KvHandlers, 'batchWrite' | 'transact'> {
  const { kv, keyspaces } = options;
  return {
    async batchWrite(context, request) {
      const keyspace = await findForWrite(keyspaces, request.keyspace);
      checkBatch(request.mutations.length, mutationBytes(request), 'mutations');
      const commands = request.mutations.map((mutation) => mutationCommand(mutation, keyspace));
      const contexts = commands.map((_, position) => writeContext(request.options, position));
      const results = commands.map((command, position) =>
        written(kv, keyspace, command, contexts[position]!, context).then(applied, failed),
      );
      return create(BatchWriteResponseSchema, { results: await Promise.all(results) });
    },

    async transact(context, request) {
      const keyspace = await findForWrite(keyspaces, request.keyspace);
      const command = transactCommand(request, keyspace);
      const { deadlineMs, isRouted } = context;
      const write = writeContext(request.options);
      const outcome = await kv.transact(keyspace, command, write, deadlineMs, isRouted);
      return create(TransactResponseSchema, {
        succeeded: outcome.succeeded,
        results: operationMessages(outcome),
      });
    },
  };
}

function applied(outcome: MutationOutcome): Pick<BatchWriteResult, 'result'> {
  return { result: { case: 'applied', value: mutationMessage(outcome) } };
}

function failed(error: unknown): Pick<BatchWriteResult, 'result'> {
  return { result: { case: 'error', value: errorToMessage(asHoldfastError(error)) } };
}

function mutationBytes({ mutations }: BatchWriteRequest): number {
  let bytes = 0;
  for (const { key, operation } of mutations) bytes += 16 + key.byteLength + valueBytes(operation.value);
  return bytes;
}

function valueBytes(change: Mutation['operation']['value']): number {
  return change !== undefined && 'value' in change ? change.value.byteLength : 0;
}

function transactCommand(request: TransactRequest, keyspace: OpenKeyspace): TransactCommand {
  const { comparisons, thenOperations, elseOperations } = request;
  const all = [...thenOperations, ...elseOperations];
  const bytes = all.reduce(
    (sum, { operation }) =>
      sum + (operation.case === 'mutation' ? 16 + valueBytes(operation.value.operation.value) : 16),
    0,
  );
  checkBatch(comparisons.length + all.length, bytes, 'then_operations');
  const command: TransactCommand = {
    comparisons: comparisons.map((comparison) => comparisonCommand(comparison, keyspace)),
    thenOperations: thenOperations.map((operation) => operationCommand(operation, keyspace)),
    elseOperations: elseOperations.map((operation) => operationCommand(operation, keyspace)),
  };
  checkDistinctWrites(command.thenOperations, 'then_operations');
  checkDistinctWrites(command.elseOperations, 'else_operations');
  return command;
}

/** A write whose keyspace cannot be looked up has not been proposed. */
async function findForWrite(keyspaces: Keyspaces, name: string): Promise<OpenKeyspace> {
  try {
    return await keyspaces.find(name);
  } catch (error) {
    const refusal = asHoldfastError(error);
    throw refusal.withOutcome(refusal.outcome ?? 'NOT_APPLIED');
  }
}
