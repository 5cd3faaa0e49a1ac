import type { DescMessage, DescMethodUnary, MessageShape } from '@bufbuild/protobuf';
import { sleep } from './clock.ts';
import { blamesEndpoint, cancelled, clientClosed, type ClientCore, deadlineExceeded } from './core.ts';
import { Expiring } from './deadlines.ts';
import { HoldfastError } from './error.ts';
import type { LeaderHint } from './leader-hint.ts';
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
  /** Told the reason of every attempt that failed, and all that it said. */
  onRefused?: (reason: string, error: HoldfastError) => void;
  /** Made also when the client is closing: to clean up. */
  isClosing?: boolean;
  /** Sent again it does the same and no more, without a sequence: it names what it asks for. */
  isRepeatable?: boolean;
  /** Group 0 serves it: its leader is asked first, and a node that does not answer is not waited for to the end. */
  isCoordination?: boolean;
  /** Any node answers it at once: one that does not is not waited for to the end. */
  isQuick?: boolean;
  /** The answer may take as long as the call: silence says nothing of the node. */
  isWaiting?: boolean;
  /** One attempt only, for work that the client does on its own. */
  once?: boolean;
}

/** The options of a call whose answer may itself say that it failed. */
export interface CheckedOptions<T> extends UnaryOptions {
  /** Throws the error that an answer contains; it counts as the attempt's. */
  check?: (response: T) => void;
}

/** So long a first attempt of a call to group 0, or of a quick one, waits where others can be asked; the next ones twice as long each. */
const PATIENCE_MS = 1_500;

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
    const endpoint = core.endpoints.pick(task.preferred);
    try {
      const response = await core.transport.unary(endpoint, method, request, task.begin(endpoint));
      check?.(response);
      core.endpoints.answered(endpoint);
      task.onAnswered(endpoint);
      if (task.settle()) resolve(response);
    } catch (cause) {
      const error = task.judgeSilence(asHoldfastError(cause), endpoint);
      if (blamesEndpoint(error, task.attempts) || task.isSilence(error)) core.endpoints.failed(endpoint);
      else core.endpoints.answered(endpoint);
      task.onRefusedAt(endpoint, error);
      await task.onAttemptFailed(error, endpoint);
    }
  }
}

class UnaryTask extends Expiring implements RetriedCall {
  readonly isWrite: boolean;
  readonly sequence: number;
  readonly isRepeatable: boolean;
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
  readonly #hint: LeaderHint | undefined;
  readonly #isImpatient: boolean;
  /** Attempts that were given up because their node was silent. */
  #silences = 0;
  readonly #reopen: (() => void) | undefined;
  readonly #onRefused: UnaryOptions['onRefused'];
  readonly #isClosing: boolean;
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
    this.#hint = options.isCoordination === true ? core.coordinator : undefined;
    this.#reopen = options.reopen;
    this.#onRefused = options.onRefused;
    this.#isClosing = options.isClosing ?? false;
    this.#reject = reject;
    this.isWrite = options.isWrite ?? false;
    this.sequence = options.sequence ?? 0;
    const isRepeated = !this.isWrite || this.sequence > 0 || options.isRepeatable === true;
    const isQuick = this.#hint !== undefined || options.isQuick === true;
    this.#isImpatient = isQuick && isRepeated && options.isWaiting !== true;
    this.isRepeatable = options.isRepeatable ?? false;
    this.lost = options.lost ?? false;
  }

  /** False: the call is over before it began. */
  start(): boolean {
    this.#core.deadlines.add(this);
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (this.#core.closing.aborted && !this.#isClosing) this.fail(clientClosed());
    else if (this.#signal?.aborted) this.#onAbort();
    return !this.settled;
  }

  /** Where the next attempt is to go. */
  get preferred(): string | undefined {
    return this.leader ?? this.#hint?.leader;
  }

  onAnswered(endpoint: string): void {
    if (!this.isWrite) return;
    this.#hint?.wroteAt(endpoint);
    if (this.sequence > 0) this.#hint?.opened();
  }

  onRefusedAt(endpoint: string, error: HoldfastError): void {
    this.#hint?.refusedAt(endpoint, error);
  }

  begin(endpoint: string): { timeoutMs: number; signal: AbortSignal } {
    this.attempts += 1;
    this.#outTo = endpoint;
    const leftMs = this.deadlineMs - this.#core.clock.monotonicMs();
    const isPatient = !this.#isImpatient || this.#once || this.#core.endpoints.all.length === 1;
    const timeoutMs = isPatient ? leftMs : Math.min(leftMs, PATIENCE_MS * 2 ** this.#silences);
    return { timeoutMs: Math.max(1, timeoutMs), signal: this.#abort.signal };
  }

  /** Whether a node did not answer in time. */
  isSilence(error: HoldfastError): boolean {
    return error.reason === 'DEADLINE_EXCEEDED' && this.#isImpatient;
  }

  /** An attempt that was given up before the call has to end only speaks against its node. */
  judgeSilence(error: HoldfastError, endpoint: string): HoldfastError {
    if (!this.isSilence(error)) return error;
    this.#hint?.silentAt(endpoint);
    this.#silences += 1;
    if (this.#core.clock.monotonicMs() >= this.deadlineMs) return error;
    const message = `${endpoint} has not answered in time, and is given up for now`;
    return new HoldfastError({ reason: 'UNAVAILABLE', message, cause: error });
  }

  /** Ends the call, or returns when it is time for the next attempt. */
  async onAttemptFailed(error: HoldfastError, endpoint: string): Promise<void> {
    this.#onRefused?.(error.reason, error);
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
    if (this.#outTo !== undefined && this.#isImpatient) {
      this.#core.endpoints.failed(this.#outTo);
      this.#hint?.silentAt(this.#outTo);
    }
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
