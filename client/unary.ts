import type { DescMessage, DescMethodUnary, MessageShape } from '@bufbuild/protobuf';
import { sleep } from './clock.ts';
import { blamesEndpoint, cancelled, clientClosed, type ClientCore, deadlineExceeded } from './core.ts';
import { Expiring } from './deadlines.ts';
import { HoldfastError } from './error.ts';
import { endError, judgeAttempt, type Refusals, type RetriedCall, retryDelayMs } from './retry.ts';

/** How a unary call is made. */
export interface UnaryOptions {
  /** Default: the client's. */
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Whether it changes data. */
  isWrite?: boolean;
  /** Sequence that the request carries; it is settled when the call is. */
  sequence?: number;
  /** Whether it was sent before, by other means, and never answered. */
  lost?: boolean;
  /** Flags the request of a write with a sequence as opening, for its next attempt. */
  reopen?: () => void;
  /** Told the reason of every attempt that failed. */
  onRefused?: (reason: string) => void;
  /** One attempt only, for work that the client does on its own. */
  once?: boolean;
}

/** The options of a call whose answer may itself say that it failed. */
export interface CheckedOptions<T> extends UnaryOptions {
  /** Throws the error that an answer contains; it counts as the attempt's. */
  check?: (response: T) => void;
}

/** Makes a unary call with retries by the table of reasons; settles by its deadline. */
export function callUnary<I extends DescMessage, O extends DescMessage>(
  core: ClientCore,
  method: DescMethodUnary<I, O>,
  request: MessageShape<I>,
  options: CheckedOptions<MessageShape<O>> = {},
): Promise<MessageShape<O>> {
  return new Promise((resolve, reject) => {
    const task = new UnaryTask(core, options, reject);
    if (task.start()) void attempts(core, method, request, task, resolve, options.check);
  });
}

async function attempts<I extends DescMessage, O extends DescMessage>(
  core: ClientCore,
  method: DescMethodUnary<I, O>,
  request: MessageShape<I>,
  task: UnaryTask,
  resolve: (response: MessageShape<O>) => void,
  check: ((response: MessageShape<O>) => void) | undefined,
): Promise<void> {
  while (!task.settled) {
    const endpoint = core.endpoints.pick(task.leader);
    try {
      const response = await core.transport.unary(endpoint, method, request, task.begin(endpoint));
      check?.(response);
      core.endpoints.answered(endpoint);
      if (task.settle()) resolve(response);
    } catch (cause) {
      const error = asHoldfastError(cause);
      if (blamesEndpoint(error, task.attempts)) core.endpoints.failed(endpoint);
      else core.endpoints.answered(endpoint);
      await task.onAttemptFailed(error, endpoint);
    }
  }
}

class UnaryTask extends Expiring implements RetriedCall {
  readonly isWrite: boolean;
  readonly sequence: number;
  attempts = 0;
  lost: boolean;
  reopened = false;
  unled: HoldfastError | undefined;
  refusedBy: Refusals | undefined;
  settled = false;
  /** The leader that a node named. */
  leader: string | undefined;
  readonly #core: ClientCore;
  readonly #timeoutMs: number;
  readonly #once: boolean;
  readonly #reopen: (() => void) | undefined;
  readonly #onRefused: ((reason: string) => void) | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #reject: (error: HoldfastError) => void;
  readonly #abort = new AbortController();
  // Set while an attempt is out: if the call ends now, its outcome is not known.
  #outTo: string | undefined;

  constructor(core: ClientCore, options: UnaryOptions, reject: (error: HoldfastError) => void) {
    const timeoutMs = options.timeoutMs ?? core.timeoutMs;
    super(core.clock.monotonicMs() + timeoutMs);
    this.#core = core;
    this.#timeoutMs = timeoutMs;
    this.#signal = options.signal;
    this.#once = options.once ?? false;
    this.#reopen = options.reopen;
    this.#onRefused = options.onRefused;
    this.#reject = reject;
    this.isWrite = options.isWrite ?? false;
    this.sequence = options.sequence ?? 0;
    this.lost = options.lost ?? false;
  }

  /** False: the call is over before it began. */
  start(): boolean {
    this.#core.deadlines.add(this);
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (this.#core.closing.aborted) this.fail(clientClosed());
    else if (this.#signal?.aborted) this.#onAbort();
    return !this.settled;
  }

  begin(endpoint: string): { timeoutMs: number; signal: AbortSignal } {
    this.attempts += 1;
    this.#outTo = endpoint;
    const timeoutMs = Math.max(1, this.deadlineMs - this.#core.clock.monotonicMs());
    return { timeoutMs, signal: this.#abort.signal };
  }

  /** Ends the call, or returns when it is time for the next attempt. */
  async onAttemptFailed(error: HoldfastError, endpoint: string): Promise<void> {
    this.#onRefused?.(error.reason);
    if (this.settled) return;
    this.#outTo = undefined;
    this.leader = error.leader;
    if (error.leader !== undefined) this.#core.endpoints.answered(error.leader);
    const delayMs = retryDelayMs(error, this.attempts, this.#core.random);
    const inTime = this.#core.clock.monotonicMs() + delayMs < this.deadlineMs;
    const place = { endpoint, endpoints: this.#core.endpoints.all.length };
    if (!judgeAttempt(error, this, place) || this.#once || !inTime) {
      this.#end(error, true);
      return;
    }
    await sleep(this.#core.clock, delayMs, this.#abort.signal).catch(() => undefined);
  }

  reopen(): void {
    this.#reopen?.();
  }

  override expire(): void {
    this.fail(deadlineExceeded(this.#timeoutMs, this.#outTo));
  }

  override abandon(): void {
    this.fail(clientClosed());
  }

  /** Ends the call from outside, whatever it is doing. */
  fail(error: HoldfastError): void {
    this.#end(error, this.#outTo !== undefined);
  }

  /** True the first time. */
  settle(): boolean {
    if (this.settled) return false;
    this.settled = true;
    this.#core.deadlines.remove(this);
    this.#signal?.removeEventListener('abort', this.#onAbort);
    if (this.sequence > 0) this.#core.sequences.settle(this.sequence);
    return true;
  }

  #end(error: HoldfastError, sent: boolean): void {
    if (!this.settle()) return;
    this.#reject(endError(error, this, sent || this.lost));
    this.#abort.abort();
  }

  readonly #onAbort = () => this.fail(cancelled(this.#signal!));
}

/** A HoldfastError as it is; anything else is a defect and becomes INTERNAL. */
export function asHoldfastError(cause: unknown): HoldfastError {
  if (cause instanceof HoldfastError) return cause;
  return new HoldfastError({ reason: 'INTERNAL', message: String(cause), cause });
}
