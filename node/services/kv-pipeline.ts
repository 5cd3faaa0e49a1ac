/**
 * One pipeline stream: takes batches of calls, answers in batches, one message a turn.
 *
 *  1. Operations on one key take effect in the order sent. A read behind a write of the
 *     same key waits for it, and a write behind a waiting read waits for that.
 *  2. Every call is answered once.
 *  3. What is taken and unanswered is bounded: above it, and while the caller does not
 *     read its answers, no more is taken.
 */
import { toBinary } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import { errorToMessage } from '@holdfast/client/error-mapping';
import { ErrorSchema } from '@holdfast/proto/error/v1/error';
import type { ReadOptions } from '@holdfast/proto/kv/v1/kv';
import {
  ROUTED_READ,
  placeOf,
  type KeyPlace,
  type KeyValue,
  type ReadTerms,
  type WriteSink,
} from '../kv/key-value.ts';
import type { OpenKeyspace, Keyspaces } from '../kv/keyspaces.ts';
import type { MutationCommand } from '../kv/kv-command.ts';
import type { MutationOutcome } from '../kv/kv-outcome.ts';
import type { StoredValue } from '../kv/kv-rows.ts';
import {
  DEFAULT_DEADLINE_MS,
  MAX_BATCH_OPERATIONS,
  MAX_DEADLINE_MS,
  checkBatch,
  checkKey,
  refuse,
} from '../kv/limits.ts';
import { kvSpan } from './access-names.ts';
import type { Access } from './access.ts';
import type { ByteBudget, CallContext, MessageStream } from './handler.ts';
import {
  asHoldfastError,
  maxStalenessMs,
  mutationCommand,
  putCommand,
  writeFence,
  writeIdentity,
} from './kv-messages.ts';
import {
  answerBytes,
  decodeBatch,
  encodeAnswers,
  type PipelineAnswer,
  type PipelineBatch,
  type PipelineCallFields,
} from './pipeline-codec.ts';

/** Calls of one stream that may be unanswered. */
const MAX_UNANSWERED = 4 * MAX_BATCH_OPERATIONS;
/** Their bytes. */
const MAX_UNANSWERED_BYTES = 16 * 1024 * 1024;
/** Starting operations gives way to other input after this long. */
const SLICE_MS = 8;
/** An answer is sent when it has grown to this size, before the turn ends. */
const ANSWER_BYTES = 1024 * 1024;

export interface PipelineDependencies {
  readonly kv: KeyValue;
  readonly keyspaces: Keyspaces;
  readonly clock: Clock;
  readonly observe: (operation: string, code: string, durationMs: number) => void;
  /** Aborted when the node is to stop: streams take no more, answer what they took, and end. */
  readonly stopping: AbortSignal;
}

/** Operations of one key that must keep their order. */
interface KeyOrder {
  /** Operations that have begun and not ended. */
  running: number;
  /** The one that runs is a read that waits for log time: nothing may overtake it. */
  exclusive: boolean;
  /** Operations that wait, in order. */
  readonly waiting: PipelineOperation[];
}

export class KvPipeline {
  /** The caller asks whoever leads a partition. */
  readonly isRouted: boolean;
  /** What the caller may do. */
  readonly access: Access;
  readonly #dependencies: PipelineDependencies;
  readonly #stream: MessageStream;
  readonly #orders = new Map<string, KeyOrder>();
  /** Keys whose waiting operations wait for room as well. */
  readonly #stalled = new Set<string>();
  /** What came and has not begun, from `next` on. */
  #backlog: PipelineOperation[] = [];
  #next = 0;
  #yielded = false;
  /** Messages behind one whose keyspace is being looked for; undefined: none is. */
  #held: Buffer[] | undefined;
  #answers: PipelineAnswer[] = [];
  /** The operations of `#answers`, for the figures. */
  #answered: { readonly operation: PipelineOperation; readonly code: string }[] = [];
  #answerBytes = 0;
  #scheduled = false;
  #unanswered = 0;
  #unansweredBytes = 0;
  /** Bytes of all calls that came and are not answered, as charged. */
  #heldBytes = 0;
  #paused = false;
  #blocked = false;
  readonly #budget: ByteBudget;
  #ended = false;
  /** What it ends with; undefined: well. */
  #end: HoldfastError | undefined;
  #closed = false;

  constructor(
    dependencies: PipelineDependencies,
    stream: MessageStream,
    { budget, isRouted, access }: Pick<CallContext, 'budget' | 'isRouted' | 'access'>,
  ) {
    this.access = access;
    this.#budget = budget;
    this.isRouted = isRouted;
    this.#dependencies = dependencies;
    this.#stream = stream;
    stream.onMessage((message) => this.#take(message));
    stream.onDrain(() => this.#onDrain());
    const end = () => {
      this.#ended = true;
      this.#throttle();
      this.#endIfDone();
    };
    stream.onEnd(end);
    dependencies.stopping.addEventListener('abort', end);
    stream.onClose(() => {
      this.#close();
      dependencies.stopping.removeEventListener('abort', end);
    });
    if (dependencies.stopping.aborted) end();
  }

  /** Takes the answer of an operation. Invariant 2. */
  answer(operation: PipelineOperation, answer: PipelineAnswer, code: string): void {
    this.#answers.push(answer);
    this.#answered.push({ operation, code });
    this.#answerBytes += answerBytes(answer);
    this.#unanswered--;
    this.#unansweredBytes -= operation.bytes;
    this.#heldBytes -= operation.bytes;
    if (!this.#closed) this.#budget.give(operation.bytes);
    if (this.#answerBytes >= ANSWER_BYTES) this.#send();
    if (!this.#scheduled) {
      this.#scheduled = true;
      this.#dependencies.clock.afterTurn(() => this.#flush());
    }
  }

  /** An operation that had not ended at once has ended: goes on with what waited for it. Invariant 1. */
  release(operation: PipelineOperation): void {
    const order = this.#orders.get(operation.orderKey)!;
    order.running--;
    order.exclusive = false;
    this.#goOnWith(operation.orderKey, order);
  }

  /** Starts what waits, unless the answers have no room: reads can be many, and large. Invariants 1, 3. */
  #goOnWith(orderKey: string, order: KeyOrder): void {
    for (let next = order.waiting[0]; next !== undefined; next = order.waiting[0]) {
      if (order.exclusive || (next.isRead && order.running > 0)) return;
      if (this.#blocked && !this.#closed) {
        this.#stalled.add(orderKey);
        return;
      }
      order.waiting.shift();
      this.#start(next, order);
    }
    if (order.running === 0) this.#orders.delete(orderKey);
  }

  #take(bytes: Buffer): void {
    if (this.#held !== undefined) {
      this.#held.push(bytes);
      return;
    }
    const startedMs = this.#dependencies.clock.monotonicMs();
    const batch = decode(bytes);
    let keyspace: OpenKeyspace | HoldfastError | Promise<OpenKeyspace>;
    try {
      this.#checkCaller();
      checkBatch(batch.calls.length, bytes.length, 'calls');
      keyspace = this.#dependencies.keyspaces.find(batch.keyspace);
    } catch (error) {
      keyspace = asHoldfastError(error);
    }
    if (keyspace instanceof Promise) this.#hold(batch, keyspace, startedMs);
    else this.#begin(batch, keyspace, startedMs);
  }

  /** A caller that is none any more is answered, and then the stream ends: another one begins with a login. */
  #checkCaller(): void {
    try {
      this.access.requireLogin();
    } catch (error) {
      this.#end = asHoldfastError(error);
      this.#ended = true;
      throw error;
    }
  }

  /** What comes meanwhile waits as well. Invariant 1. */
  #hold(batch: PipelineBatch, keyspace: Promise<OpenKeyspace>, startedMs: number): void {
    this.#held = [];
    this.#throttle();
    const goOn = (found: OpenKeyspace | HoldfastError) => {
      const held = this.#held!;
      this.#held = undefined;
      if (this.#closed) return;
      this.#begin(batch, found, startedMs);
      try {
        for (const bytes of held) this.#take(bytes);
      } catch (error) {
        return this.#stream.end(asHoldfastError(error));
      }
      this.#endIfDone();
    };
    keyspace.then(goOn, (error: unknown) => goOn(asHoldfastError(error)));
  }

  #begin(batch: PipelineBatch, found: OpenKeyspace | HoldfastError, startedMs: number): void {
    let keyspace = found;
    const charge = batch.calls.reduce((sum, call) => sum + operationBytes(call), 0);
    if (!this.#budget.tryTake(charge)) {
      keyspace = this.#budget.refusal();
      this.#budget.give(-charge); // held all the same until it is refused, which is when answers have room
    }
    for (const call of batch.calls) {
      this.#heldBytes += operationBytes(call);
      this.#backlog.push(new PipelineOperation(this, this.#dependencies, batch, call, keyspace, startedMs));
    }
    this.#pump();
  }

  /** Starts what came, in order, as long as there is room for the answers; gives way after a while. Invariant 3. */
  #pump(): void {
    const { clock } = this.#dependencies;
    const startedMs = clock.monotonicMs();
    while (this.#next < this.#backlog.length && !this.#isFull && !this.#closed) {
      this.#admit(this.#backlog[this.#next++]!);
      if (this.#next % 64 !== 0 || clock.monotonicMs() - startedMs < SLICE_MS) continue;
      if (!this.#yielded) clock.afterTurn(() => this.#goOn());
      this.#yielded = true;
      break;
    }
    if (this.#next === this.#backlog.length || this.#closed) {
      this.#backlog = [];
      this.#next = 0;
    }
    this.#throttle();
  }

  #goOn(): void {
    this.#yielded = false;
    this.#pump();
    this.#endIfDone();
  }

  get #isFull(): boolean {
    return (
      this.#blocked || this.#unanswered >= MAX_UNANSWERED || this.#unansweredBytes >= MAX_UNANSWERED_BYTES
    );
  }

  /** Starts an operation, unless another on its key must end first. Invariant 1. */
  #admit(operation: PipelineOperation): void {
    this.#unanswered++;
    this.#unansweredBytes += operation.bytes;
    const order = this.#orders.get(operation.orderKey);
    if (order !== undefined && (order.waiting.length > 0 || order.exclusive || operation.isRead))
      order.waiting.push(operation);
    else this.#start(operation, order);
  }

  #start(operation: PipelineOperation, known: KeyOrder | undefined): void {
    if (operation.isRead && known === undefined) {
      // The usual read ends at once and needs no order.
      if (operation.start())
        this.#orders.set(operation.orderKey, { running: 1, exclusive: true, waiting: [] });
      return;
    }
    const order = known ?? { running: 0, exclusive: false, waiting: [] };
    if (known === undefined) this.#orders.set(operation.orderKey, order);
    order.running++; // before it starts: a write may fail, and be released, at once
    if (operation.start()) {
      order.exclusive = operation.isRead;
      return;
    }
    order.running--;
    if (order.running === 0 && order.waiting.length === 0) this.#orders.delete(operation.orderKey);
  }

  #flush(): void {
    this.#scheduled = false;
    this.#send();
    if (!this.#yielded) this.#pump();
    this.#endIfDone();
  }

  #send(): void {
    const answers = this.#answers;
    if (answers.length > 0 && !this.#closed)
      this.#blocked = !this.#stream.send(encodeAnswers(answers, this.#answerBytes));
    this.#answers = [];
    this.#answerBytes = 0;
    this.#observeAnswered();
  }

  #observeAnswered(): void {
    const { clock, observe } = this.#dependencies;
    const now = clock.monotonicMs();
    for (const { operation, code } of this.#answered)
      observe(operation.kind, code, now - operation.startedMs);
    this.#answered = [];
  }

  #onDrain(): void {
    this.#blocked = false;
    const stalled = [...this.#stalled];
    this.#stalled.clear();
    for (const orderKey of stalled) {
      const order = this.#orders.get(orderKey);
      if (order !== undefined) this.#goOnWith(orderKey, order);
    }
    this.#pump();
  }

  /** Invariant 3. */
  #throttle(): void {
    const full = this.#ended || this.#backlog.length > 0 || this.#isFull || this.#held !== undefined;
    if (full === this.#paused) return;
    this.#paused = full;
    if (full) this.#stream.pause();
    else this.#stream.resume();
  }

  /** Nobody waits for an answer any more: what has not begun is dropped, what has goes on. */
  #close(): void {
    this.#closed = true;
    this.#budget.give(this.#heldBytes);
    this.#backlog = [];
    this.#next = 0;
    this.#stalled.clear();
    for (const order of this.#orders.values()) order.waiting.length = 0;
  }

  #endIfDone(): void {
    if (
      this.#ended &&
      this.#held === undefined &&
      this.#backlog.length === 0 &&
      this.#unanswered === 0 &&
      this.#answers.length === 0 &&
      !this.#closed
    )
      this.#stream.end(this.#end);
  }
}

/** Decodes a message; what is not one ends the stream, for nobody can say which calls it had. */
function decode(bytes: Buffer): PipelineBatch {
  try {
    return decodeBatch(bytes);
  } catch (cause) {
    const message = `the ${bytes.length} bytes of the message are not a holdfast.kv.v1.PipelineRequest. Nothing of it was done.`;
    throw new HoldfastError({ reason: 'MESSAGE_MALFORMED', message, outcome: 'NOT_APPLIED', cause });
  }
}

/** What a call holds in memory, about. */
function operationBytes({ bytes }: PipelineCallFields): number {
  return 64 + bytes;
}

/** One call of a pipeline, from its arrival to its answer. */
export class PipelineOperation implements WriteSink {
  readonly call: PipelineCallFields;
  readonly startedMs: number;
  readonly bytes: number;
  /** Operations of the same key have the same: the name of its row. */
  readonly orderKey: string;
  readonly isRead: boolean;
  readonly #pipeline: KvPipeline;
  readonly #dependencies: PipelineDependencies;
  readonly #batch: PipelineBatch;
  readonly #keyspace: OpenKeyspace | HoldfastError;
  readonly #place: KeyPlace | undefined;
  #running = false;

  constructor(
    pipeline: KvPipeline,
    dependencies: PipelineDependencies,
    batch: PipelineBatch,
    call: PipelineCallFields,
    keyspace: OpenKeyspace | HoldfastError,
    startedMs: number,
  ) {
    this.#pipeline = pipeline;
    this.#dependencies = dependencies;
    this.#batch = batch;
    this.call = call;
    this.#keyspace = keyspace;
    this.startedMs = startedMs;
    this.isRead = call.get !== undefined;
    this.#place = keyspace instanceof Error ? undefined : placeOf(keyspace, call.key);
    this.orderKey = this.#place?.order ?? '';
    this.bytes = operationBytes(call);
  }

  /** For metrics. */
  get kind(): string {
    if (this.isRead) return 'get';
    return this.call.put === undefined && this.call.mutation === undefined ? 'unknown' : 'mutation';
  }

  /** Begins; true: it is not done yet and `release` will be called. */
  start(): boolean {
    try {
      const keyspace = this.#keyspace;
      if (keyspace instanceof Error) throw keyspace;
      const use = this.isRead ? 'read' : 'write';
      this.#pipeline.access.requireKeys(use, () => kvSpan(keyspace.name, this.call.key));
      return this.isRead ? this.#read(keyspace) : this.#write(keyspace);
    } catch (error) {
      const refusal = asHoldfastError(error);
      // Nothing was proposed.
      const outcome = this.isRead ? undefined : (refusal.outcome ?? 'NOT_APPLIED');
      this.#refuse(refusal.withOutcome(outcome));
      return false;
    }
  }

  onDone(outcome: MutationOutcome): void {
    this.#pipeline.answer(this, { id: this.call.id, kind: 'mutation', outcome }, 'OK');
    if (this.#running) this.#pipeline.release(this);
  }

  onError(error: HoldfastError): void {
    this.#refuse(error);
    if (this.#running) this.#pipeline.release(this);
  }

  #read(keyspace: OpenKeyspace): boolean {
    const { key, get } = this.call;
    checkKey(key, keyspace);
    const found = this.#dependencies.kv.get(keyspace, key, this.#place, this.#readTerms(get?.options));
    if (!(found instanceof Promise)) {
      this.#found(found);
      return false;
    }
    this.#running = true;
    found
      .then((value) => this.#found(value))
      .catch((error: unknown) => this.#refuse(asHoldfastError(error)))
      .finally(() => this.#pipeline.release(this));
    return true;
  }

  /** The usual read needs no terms of its own. */
  #readTerms(options: ReadOptions | undefined): ReadTerms {
    const { isRouted } = this.#pipeline;
    if (isRouted && options === undefined) return ROUTED_READ;
    const deadlineMs = isRouted ? Infinity : this.#deadline(); // one that routes waits for no other node
    return { isRouted, deadlineMs, maxStalenessMs: maxStalenessMs(options) };
  }

  #found(found: StoredValue | undefined): void {
    const { id, key } = this.call;
    this.#pipeline.answer(this, { id, kind: 'get', key, found }, 'OK');
  }

  #write(keyspace: OpenKeyspace): boolean {
    const { sequence, open, fence } = this.call;
    const command = this.#command(keyspace);
    const { clientId, ackedBelow } = this.#batch;
    const identity = sequence === 0 ? undefined : writeIdentity(clientId, sequence, ackedBelow, open);
    const context = { identity, fence: writeFence(fence) };
    this.#running = true;
    try {
      const { kv } = this.#dependencies;
      const { isRouted } = this.#pipeline;
      kv.mutate(keyspace, command, context, this.#deadline(), this, this.#place, isRouted);
    } catch (error) {
      this.#running = false;
      throw error;
    }
    return true;
  }

  #command(keyspace: OpenKeyspace): MutationCommand {
    const { key, put, mutation } = this.call;
    if (put !== undefined) return putCommand(key, put.isCreate, put, keyspace);
    if (mutation !== undefined) return mutationCommand(mutation, keyspace);
    throw refuse(
      'OPERATION_MISSING',
      'calls.operation',
      'the call says not what to do: set get or mutation. Nothing was done.',
    );
  }

  #deadline(): number {
    const { timeoutMs } = this.call;
    if (timeoutMs > MAX_DEADLINE_MS) {
      throw refuse(
        'INVALID_FIELD',
        'calls.timeout_ms',
        `timeout_ms is ${timeoutMs}, limit ${MAX_DEADLINE_MS}. Nothing was done.`,
        String(timeoutMs),
        `1..${MAX_DEADLINE_MS}`,
      );
    }
    return this.startedMs + (timeoutMs === 0 ? DEFAULT_DEADLINE_MS : timeoutMs);
  }

  #refuse(error: HoldfastError): void {
    const shown = errorToMessage(this.isRead ? error.withOutcome(undefined) : error);
    this.#pipeline.answer(
      this,
      { id: this.call.id, kind: 'error', error: toBinary(ErrorSchema, shown) },
      error.code,
    );
  }
}
