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
import type { ConfigOperation, ConfigTransaction } from '../coordination/config-command.ts';
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
import { ConfigPipeline, type BatchContext } from './config-pipeline.ts';
import { canGrow, checkedTransaction } from './config-transaction-messages.ts';
import { callNeeds, type LeasedNeeds } from './operation-needs.ts';
import { serve, type ByteBudget, type CallContext, type Handlers, type ServedService } from './handler.ts';
import { configKey } from './key-selection.ts';
import { asHoldfastError, safeInteger } from './kv-messages.ts';
import { sequenceIdentity } from './session-messages.ts';

/** Bytes of values that one Batch may answer with: a message is at most 16 MiB. */
const MAX_ANSWER_BYTES = 15 * 1024 * 1024;

/** Of a call that comes alone. */
type Terms = Pick<CallContext, 'deadlineMs' | 'isRouted' | 'grant'>;

/** Of a call in a batch. */
interface BatchedTerms extends Terms {
  readonly answers?: BatchAnswers;
}

export interface ConfigServiceOptions {
  readonly configuration: Configuration;
  readonly clock: Clock;
  /** Aborted when the node is to stop: streams end. */
  readonly stopping: AbortSignal;
  /** Told of each call of a pipeline: which, its gRPC status, and how long it took. */
  readonly observe: (operation: string, code: string, durationMs: number) => void;
  readonly watch: Handlers<typeof ConfigService>['watch'];
  /** What hangs on leases, for what calls of a batch need. */
  readonly leased: LeasedNeeds;
}

/** The configuration service over a node's configuration. */
export function configService(options: ConfigServiceOptions): ServedService {
  const { configuration, watch, leased, ...node } = options;
  const calls = new ConfigCalls(configuration, leased);
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
  readonly #leased: LeasedNeeds;

  constructor(configuration: Configuration, leased: LeasedNeeds) {
    this.#configuration = configuration;
    this.#leased = leased;
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

  async put(request: PutRequest, terms: BatchedTerms): Promise<PutResponse> {
    const { result, revision } = await this.#one(putOperation(request), request, terms, true);
    return putMessage(result as PutResult, revision);
  }

  async delete(request: DeleteRequest, terms: BatchedTerms): Promise<DeleteResponse> {
    const { result, revision } = await this.#one(deleteOperation(request), request, terms, false);
    return deleteMessage(result as DeleteResult, revision);
  }

  async transact(request: TransactRequest, terms: BatchedTerms): Promise<TransactResponse> {
    const transaction = checkedTransaction(request.transaction);
    this.#count(transaction, terms);
    const identity = sequenceIdentity(request.sequence);
    const grows = canGrow(transaction);
    return transactMessage(await this.#configuration.transact(transaction, { ...terms, grows, identity }));
  }

  /** All in one turn, so that writes go into the log together and reads share one question to the majority. */
  async batch(calls: readonly Call[], context: BatchContext): Promise<CallResult[]> {
    const { deadlineMs, isRouted, budget } = context;
    const answers = new BatchAnswers(budget);
    const batch = { deadlineMs, isRouted, budget, access: context.access.together() };
    let ready: Promise<void> | undefined;
    const upToDate = () => (ready ??= this.#configuration.awaitRead(context));
    try {
      const results = await Promise.all(
        calls.map((call) => this.#call(call, batch, { answers, upToDate }).catch(errorResult)),
      );
      return results.map((result) => create(CallResultSchema, { result }));
    } finally {
      answers.give();
    }
  }

  /** Each is let in by itself. */
  async #call(
    of: Call,
    batch: BatchContext,
    { answers, upToDate }: { answers: BatchAnswers; upToDate: () => Promise<void> },
  ): Promise<CallResult['result']> {
    const { call } = of;
    const grant = batch.access.of(() => callNeeds(of, this.#leased));
    const terms = { deadlineMs: batch.deadlineMs, isRouted: batch.isRouted, grant, answers };
    if (grant.hasAskedLeases) {
      await upToDate();
      grant.renew();
    }
    switch (call.case) {
      case 'get': {
        const key = configKey(call.value.key);
        if (call.value.options?.stale !== true) await upToDate();
        const response = this.read(key, call.value);
        grant.confirm();
        answers.count(entryBytes(response));
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

  /** What a call of a batch will answer with is counted before it is proposed: afterwards it is too late to refuse it. */
  #count(transaction: ConfigTransaction, { answers }: BatchedTerms): void {
    if (answers !== undefined) answers.count(this.#configuration.reads.answerSize(transaction));
  }

  /** A transaction of one operation. */
  async #one(
    operation: ConfigOperation,
    { sequence }: PutRequest | DeleteRequest,
    terms: BatchedTerms,
    grows: boolean,
  ) {
    const transaction = { comparisons: [], thenOperations: [operation], elseOperations: [] };
    this.#count(transaction, terms);
    const identity = sequenceIdentity(sequence);
    const { results, revision } = await this.#configuration.transact(transaction, {
      ...terms,
      grows,
      identity,
    });
    return { result: results[0], revision };
  }
}

/** What one batch answers with: bounded, and held against the caller's budget until all of it is known. */
class BatchAnswers {
  readonly #budget: ByteBudget;
  #bytes = 0;

  constructor(budget: ByteBudget) {
    this.#budget = budget;
  }

  /** Errors: ANSWER_TOO_LARGE, OVERLOADED. One answer goes through, however large. */
  count(bytes: number): void {
    if (bytes === 0) return;
    const after = this.#bytes + bytes;
    if (after > MAX_ANSWER_BYTES && this.#bytes > 0) {
      const message = `the answers of the batch are more than ${MAX_ANSWER_BYTES} bytes together. Nothing was done for this call; ask for less, or in smaller batches.`;
      throw refuse('ANSWER_TOO_LARGE', 'calls', message, String(after), String(MAX_ANSWER_BYTES));
    }
    if (!this.#budget.tryTake(bytes)) throw this.#budget.refusal();
    this.#bytes = after;
  }

  give(): void {
    this.#budget.give(this.#bytes);
  }
}

function entryBytes({ entry }: GetResponse): number {
  return entry === undefined ? 0 : entry.key.byteLength + entry.value.byteLength;
}

function errorResult(error: unknown): { case: 'error'; value: ReturnType<typeof errorToMessage> } {
  const told: HoldfastError = asHoldfastError(error);
  return { case: 'error', value: errorToMessage(told) };
}
