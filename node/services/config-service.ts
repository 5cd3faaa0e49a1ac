/** `holdfast.config.v1.ConfigService`. */
import { create } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import type { HoldfastError } from '@holdfast/client/error';
import { errorToMessage } from '@holdfast/client/error-mapping';
import {
  BatchResponseSchema,
  CallResultSchema,
  CompactResponseSchema,
  ConfigService,
  DescribeResponseSchema,
  GetResponseSchema,
  type Call,
  type CallResult,
  type DeleteRequest,
  type DeleteResponse,
  type GetRequest,
  type GetResponse,
  type PutRequest,
  type PutResponse,
  type ReadOptions,
  type TransactRequest,
  type TransactResponse,
} from '@holdfast/proto/config/v1/config';
import type { ConfigOperation } from '../coordination/config-command.ts';
import type { DeleteResult, PutResult } from '../coordination/config-outcome.ts';
import type { Configuration } from '../coordination/configuration.ts';
import { checkBatch, refuse } from '../kv/limits.ts';
import {
  deleteMessage,
  deleteOperation,
  entryMessage,
  listMessage,
  listOrder,
  putMessage,
  putOperation,
  transactMessage,
} from './config-messages.ts';
import { ConfigPipeline } from './config-pipeline.ts';
import { canGrow, checkedTransaction } from './config-transaction-messages.ts';
import { serve, type CallContext, type Handlers, type ServedService } from './handler.ts';
import { configKey } from './key-selection.ts';
import { asHoldfastError, safeInteger } from './kv-messages.ts';
import { sequenceIdentity } from './session-messages.ts';

/** Bytes of values that one Batch may answer with: a message is at most 16 MiB. */
const MAX_ANSWER_BYTES = 15 * 1024 * 1024;

type Terms = Pick<CallContext, 'deadlineMs' | 'isRouted'>;

export interface ConfigServiceOptions {
  readonly configuration: Configuration;
  readonly clock: Clock;
  /** Aborted when the node is to stop: streams end. */
  readonly stopping: AbortSignal;
  /** Told of each call of a pipeline: which, its gRPC status, and how long it took. */
  readonly observe: (operation: string, code: string, durationMs: number) => void;
  readonly watch: Handlers<typeof ConfigService>['watch'];
}

/** The configuration service over a node's configuration. */
export function configService({ configuration, watch, ...node }: ConfigServiceOptions): ServedService {
  const calls = new ConfigCalls(configuration);
  const pipelines = { ...node, batch: calls.batch.bind(calls) };
  return serve(ConfigService, {
    watch,
    pipeline: (context, stream) => void new ConfigPipeline(pipelines, stream, context),
    put: (context, request) => calls.put(request, context),
    delete: (context, request) => calls.delete(request, context),
    transact: (context, request) => calls.transact(request, context),
    batch: async (context, request) => {
      checkBatch(request.calls.length, 0, 'calls');
      return create(BatchResponseSchema, { results: await calls.batch(request.calls, context) });
    },

    async get(context, request) {
      const key = configKey(request.key);
      await upToDate(configuration, request.options, context);
      return calls.read(key, request);
    },

    async list(context, request) {
      const order = listOrder(request);
      const revision = safeInteger(request.options?.revision ?? 0n, 'options.revision');
      await upToDate(configuration, request.options, context);
      return listMessage(await configuration.reads.list(order, revision, context.signal));
    },

    async compact(context, { revision }) {
      const now = await configuration.compact(safeInteger(revision, 'revision'), context);
      return create(CompactResponseSchema, { revision: BigInt(now) });
    },

    async describe(context) {
      await configuration.awaitRead(context);
      const { revision, compactRevision, keys, bytes, quotaBytes, watches } = configuration.figures;
      return create(DescribeResponseSchema, {
        revision: BigInt(revision),
        compactRevision: BigInt(compactRevision),
        keys: BigInt(keys),
        bytes: BigInt(bytes),
        quotaBytes: BigInt(quotaBytes),
        watches: BigInt(watches),
      });
    },
  });
}

async function upToDate(
  configuration: Configuration,
  options: ReadOptions | undefined,
  terms: Terms,
): Promise<void> {
  if (options?.stale !== true) await configuration.awaitRead(terms);
}

/** The calls that may come alone or in a batch. */
class ConfigCalls {
  readonly #configuration: Configuration;

  constructor(configuration: Configuration) {
    this.#configuration = configuration;
  }

  /** As applied on this node. */
  read(key: string, { options }: GetRequest): GetResponse {
    const asked = safeInteger(options?.revision ?? 0n, 'options.revision');
    const { entry, revision } = this.#configuration.reads.get(key, asked);
    return create(GetResponseSchema, {
      ...(entry && { entry: entryMessage(entry) }),
      revision: BigInt(revision),
    });
  }

  async put(request: PutRequest, terms: Terms): Promise<PutResponse> {
    const { result, revision } = await this.#one(putOperation(request), request, terms, true);
    return putMessage(result as PutResult, revision);
  }

  async delete(request: DeleteRequest, terms: Terms): Promise<DeleteResponse> {
    const { result, revision } = await this.#one(deleteOperation(request), request, terms, false);
    return deleteMessage(result as DeleteResult, revision);
  }

  async transact(request: TransactRequest, terms: Terms): Promise<TransactResponse> {
    const transaction = checkedTransaction(request.transaction);
    const identity = sequenceIdentity(request.sequence);
    const grows = canGrow(transaction);
    return transactMessage(await this.#configuration.transact(transaction, { ...terms, grows, identity }));
  }

  /** All in one turn, so that writes go into the log together and reads share one question to the majority. */
  async batch(calls: readonly Call[], terms: Terms): Promise<CallResult[]> {
    const read = new BatchedReads(this.#configuration, terms);
    const answers = await Promise.all(calls.map((call) => this.#call(call, terms, read).catch(errorResult)));
    return answers.map((answer) => create(CallResultSchema, { result: answer }));
  }

  async #call({ call }: Call, terms: Terms, reads: BatchedReads): Promise<CallResult['result']> {
    switch (call.case) {
      case 'get': {
        const key = configKey(call.value.key);
        await reads.upToDate(call.value.options);
        const response = this.read(key, call.value);
        reads.count(response);
        return { case: 'get', value: response };
      }
      case 'put':
        return { case: 'put', value: await this.put(call.value, terms) };
      case 'delete':
        return { case: 'delete', value: await this.delete(call.value, terms) };
      case 'transact':
        return { case: 'transact', value: await this.transact(call.value, terms) };
      default:
        throw refuse('OPERATION_MISSING', 'calls', 'a call says not what to do. Nothing was done.');
    }
  }

  /** A transaction of one operation. */
  async #one(
    operation: ConfigOperation,
    { sequence }: PutRequest | DeleteRequest,
    terms: Terms,
    grows: boolean,
  ) {
    const transaction = { comparisons: [], thenOperations: [operation], elseOperations: [] };
    const identity = sequenceIdentity(sequence);
    const { results, revision } = await this.#configuration.transact(transaction, {
      ...terms,
      grows,
      identity,
    });
    return { result: results[0], revision };
  }
}

/** Reads of one batch. */
class BatchedReads {
  readonly #configuration: Configuration;
  readonly #terms: Terms;
  #ready: Promise<void> | undefined;
  #bytes = 0;

  constructor(configuration: Configuration, terms: Terms) {
    this.#configuration = configuration;
    this.#terms = terms;
  }

  async upToDate(options: ReadOptions | undefined): Promise<void> {
    if (options?.stale === true) return;
    await (this.#ready ??= this.#configuration.awaitRead(this.#terms));
  }

  /** Error: ANSWER_TOO_LARGE. */
  count({ entry }: GetResponse): void {
    const bytes = entry === undefined ? 0 : entry.key.byteLength + entry.value.byteLength;
    const after = this.#bytes + bytes;
    if (after > MAX_ANSWER_BYTES && this.#bytes > 0) {
      const message = `the answers of the batch are more than ${MAX_ANSWER_BYTES} bytes together. Read in smaller batches.`;
      throw refuse('ANSWER_TOO_LARGE', 'calls', message, String(after), String(MAX_ANSWER_BYTES));
    }
    this.#bytes = after;
  }
}

function errorResult(error: unknown): { case: 'error'; value: ReturnType<typeof errorToMessage> } {
  const told: HoldfastError = asHoldfastError(error);
  return { case: 'error', value: errorToMessage(told) };
}
