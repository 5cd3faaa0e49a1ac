/** `etcdserverpb.KV`: the configuration as etcd's clients read and write it. */
import { create } from '@bufbuild/protobuf';
import {
  CompactionResponseSchema,
  KV,
  type CompactionRequest,
  type CompactionResponse,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  type PutRequest,
  type PutResponse,
  type RangeRequest,
  type RangeResponse,
  type TxnRequest,
  type TxnResponse,
} from '@holdfast/proto/etcd/rpc';
import type { PutResult } from '../../coordination/config-outcome.ts';
import type { Configuration } from '../../coordination/configuration.ts';
import { canGrow } from '../config-transaction-messages.ts';
import { serve, type CallContext, type ServedService } from '../handler.ts';
import { deleteKeys } from './etcd-delete.ts';
import { asEtcd } from './etcd-error.ts';
import type { HeaderOf } from './etcd-header.ts';
import { bytesOf, checkRequestBytes, transactionBytes, type EtcdLimits } from './etcd-limits.ts';
import { EtcdRange } from './etcd-range.ts';
import { readRange, type ReadRange } from './etcd-reads.ts';
import {
  EtcdTransaction,
  deleteOperation,
  deleteResponse,
  putOperation,
  putResponse,
} from './etcd-transaction.ts';

export interface EtcdKvOptions {
  readonly configuration: Configuration;
  readonly header: HeaderOf;
  readonly limits: EtcdLimits;
}

export function etcdKvService(options: EtcdKvOptions): ServedService {
  const calls = new EtcdKv(options);
  return serve(KV, {
    range: (context, request) => asEtcd(() => calls.range(request, context)),
    put: (context, request) => asEtcd(() => calls.put(request, context)),
    deleteRange: (context, request) => asEtcd(() => calls.deleteRange(request, context)),
    txn: (context, request) => asEtcd(() => calls.txn(request, context)),
    compact: (context, request) => asEtcd(() => calls.compact(request, context)),
  });
}

class EtcdKv {
  readonly #configuration: Configuration;
  readonly #header: HeaderOf;
  readonly #limits: EtcdLimits;

  constructor({ configuration, header, limits }: EtcdKvOptions) {
    this.#configuration = configuration;
    this.#header = header;
    this.#limits = limits;
  }

  /** The header has the revision that the range was read at, so that a watch can begin right behind it; of a former one, the present. */
  async range(request: RangeRequest, context: CallContext): Promise<RangeResponse> {
    const range = new EtcdRange(request);
    const { reads } = this.#configuration;
    // A revision that is not here yet may be one that another node has told.
    if (!request.serializable || range.revision > reads.revision)
      await this.#configuration.awaitRead(context);
    const { entries, count, revision } = await readRange(reads, range, context.signal);
    const header = this.#header(range.revision === 0 ? revision : undefined);
    return range.response(header, entries, count);
  }

  async put(request: PutRequest, context: CallContext): Promise<PutResponse> {
    const operation = putOperation(request);
    checkRequestBytes(bytesOf(request.key, request.value), this.#limits);
    const transaction = { comparisons: [], thenOperations: [operation], elseOperations: [] };
    const terms = { ...termsOf(context), grows: true, identity: undefined };
    const { results, revision } = await this.#configuration.transact(transaction, terms);
    return putResponse(this.#header(revision), results[0] as PutResult);
  }

  async deleteRange(request: DeleteRangeRequest, context: CallContext): Promise<DeleteRangeResponse> {
    const { result, revision } = await deleteKeys(this.#configuration, deleteOperation(request), context);
    return deleteResponse(this.#header(revision), result);
  }

  async txn(request: TxnRequest, context: CallContext): Promise<TxnResponse> {
    const asked = new EtcdTransaction(request, this.#limits.maxTxnOps);
    checkRequestBytes(transactionBytes(request), this.#limits);
    const past = await this.#past(asked, context);
    const { transaction } = asked;
    const grows = canGrow(transaction);
    const outcome = await this.#configuration.transact(transaction, {
      ...termsOf(context),
      grows,
      identity: undefined,
    });
    return asked.response(this.#header(outcome.revision), outcome, past);
  }

  async compact({ revision }: CompactionRequest, context: CallContext): Promise<CompactionResponse> {
    const asked = revision < 0n ? 0n : revision;
    const now = await this.#configuration.compact(
      Math.min(Number(asked), Number.MAX_SAFE_INTEGER),
      termsOf(context),
    );
    return create(CompactionResponseSchema, { header: this.#header(now) });
  }

  /** Before anything is done, so that one that cannot be read has done nothing. */
  async #past({ past }: EtcdTransaction, context: CallContext): Promise<Map<RangeRequest, ReadRange>> {
    const found = new Map<RangeRequest, ReadRange>();
    if (past.size > 0) await this.#configuration.awaitRead(context);
    for (const [request, range] of past)
      found.set(request, await readRange(this.#configuration.reads, range, context.signal));
    return found;
  }
}

function termsOf({ deadlineMs, isRouted, grant }: CallContext) {
  return { deadlineMs, isRouted, grant };
}
