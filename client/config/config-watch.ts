import type { CreateWatch, KeySelection } from '@holdfast/proto/config/v1/config';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { CreateWatchSchema } from '@holdfast/proto/config/v1/config';
import { cancelled } from '../core.ts';
import type { HoldfastError } from '../error.ts';
import { integer64, invalid } from '../values.ts';
import type { ConfigEvent, ConfigWatchOptions, WatchItem } from './config-event.ts';

/** What an event costs beside its bytes on the wire. */
const EVENT_BYTES = 200;
const DEFAULT_BUFFERED_BYTES = 1_048_576;

/** Who carries a watch to a node. */
export interface WatchCarrier {
  /** It is over: nothing of it is wanted any more. */
  onOver(watch: ConfigWatch): void;
  /** Its reader is slow: nothing is wanted for now. */
  onFull(watch: ConfigWatch): void;
  /** Its reader has taken all: it is to go on at `nextRevision`. */
  onRoom(watch: ConfigWatch): void;
}

/**
 * The changes of some keys, in order, each once, always all of a revision together. It survives
 * nodes that fail and goes on where it was; what was compacted meanwhile it tells by `resync`.
 *
 * Iterate it once; leaving the loop ends the watch. It begins when it is made, and what is not
 * read waits, up to a bound.
 *
 * Invariants:
 *  W1. `nextRevision` is the revision after the last one of which all is in the buffer or was
 *      read; 0 as long as the watch has not begun. Nothing before it is taken in again.
 *  W2. Changes of a revision come into the buffer when the last of them has come.
 */
export class ConfigWatch implements AsyncIterableIterator<WatchItem> {
  /** @internal */
  readonly selection: KeySelection;
  /** @internal Invariant W1. */
  nextRevision: bigint;
  /** @internal Times in a row that a node ended it for reasons that may pass. */
  refusals = 0;
  readonly #options: ConfigWatchOptions;
  readonly #carrier: WatchCarrier;
  readonly #maxBytes: number;
  readonly #items: WatchItem[] = [];
  /** Of the last item, if it is `changes` that nobody has taken: more may be added. */
  #open: ConfigEvent[] | undefined;
  #bytes = 0;
  /** Of a revision that has not come whole. */
  #partial: ConfigEvent[] = [];
  #partialBytes = 0;
  #isFull = false;
  #end: { error: HoldfastError | undefined } | undefined;
  #taker: { resolve(item: IteratorResult<WatchItem>): void; reject(error: Error): void } | undefined;
  #starters: (() => void)[] = [];

  /** @internal */
  constructor(selection: KeySelection, options: ConfigWatchOptions, carrier: WatchCarrier) {
    const maxBytes = options.maxBufferedBytes ?? DEFAULT_BUFFERED_BYTES;
    if (!(Number.isSafeInteger(maxBytes) && maxBytes >= 1))
      throw invalid('maxBufferedBytes', `maxBufferedBytes is ${maxBytes}, allowed are whole numbers from 1`);
    this.selection = selection;
    this.nextRevision = integer64(options.from ?? 0n, 'from', false);
    this.#options = options;
    this.#carrier = carrier;
    this.#maxBytes = maxBytes;
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Revision after the last one of which all was given or waits to be; a later watch may begin there. */
  get position(): bigint {
    return this.nextRevision;
  }

  /** Resolves when the watch has begun: what is changed from now on is told. Rejects with its error. */
  started(): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        if (this.#end?.error !== undefined) reject(this.#end.error);
        else resolve();
      };
      if (this.#end !== undefined || this.nextRevision > 0n) check();
      else this.#starters.push(check);
    });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** What comes next. One at a time. */
  next(): Promise<IteratorResult<WatchItem, undefined>> {
    const item = this.#items.shift();
    if (item !== undefined) {
      if (this.#items.length === 0) this.#emptied();
      return Promise.resolve({ value: item, done: false });
    }
    if (this.#end !== undefined) {
      const { error } = this.#end;
      this.#end = { error: undefined };
      return error === undefined ? Promise.resolve({ value: undefined, done: true }) : Promise.reject(error);
    }
    return new Promise((resolve, reject) => (this.#taker = { resolve, reject }));
  }

  /** Ends the watch. */
  return(): Promise<IteratorResult<WatchItem, undefined>> {
    this.close();
    return Promise.resolve({ value: undefined, done: true });
  }

  /** Ends the watch, and with it the loop over it. */
  close(): void {
    this.#items.length = 0;
    this.#finish(undefined);
  }

  /** @internal What begins it on a node, where it is now. */
  request(watchId: number): MessageInitShape<typeof CreateWatchSchema> {
    const { previous, puts, deletes, progress } = this.#options;
    const request: Omit<CreateWatch, '$typeName'> = {
      watchId: BigInt(watchId),
      selection: this.selection,
      startRevision: this.nextRevision,
      withPrevious: previous ?? false,
      withoutPuts: puts === false,
      withoutDeletes: deletes === false,
      fragment: true,
      progress: progress ?? false,
    };
    return request;
  }

  /** @internal It has begun on a node whose tree is at `revision`. */
  onCreated(revision: bigint): void {
    this.#forgetPartial();
    if (this.nextRevision === 0n) this.nextRevision = revision + 1n;
    for (const started of this.#starters.splice(0)) started();
  }

  /** @internal Invariants W1 and W2. */
  onEvents(events: ConfigEvent[], bytes: number, revision: bigint, more: boolean): void {
    this.refusals = 0;
    for (const event of events) if (event.revision >= this.nextRevision) this.#partial.push(event);
    this.#partialBytes += bytes + events.length * EVENT_BYTES;
    if (more) return;
    const whole = this.#partial;
    const wholeBytes = this.#partialBytes;
    this.#forgetPartial();
    if (revision >= this.nextRevision) this.nextRevision = revision + 1n;
    if (whole.length > 0) this.#put(whole, wholeBytes, revision);
  }

  /** @internal Everything up to this revision has been told. */
  onProgress(revision: bigint): void {
    this.refusals = 0;
    if (this.#partial.length > 0 || revision < this.nextRevision) return;
    this.nextRevision = revision + 1n;
    if (this.#options.progress === true) this.#give({ type: 'progress', revision });
  }

  /** @internal What came before `compactRevision` is gone. */
  onCompacted(compactRevision: bigint): void {
    this.#forgetPartial();
    if (compactRevision <= this.nextRevision) return;
    this.nextRevision = compactRevision;
    this.#give({ type: 'resync', revision: compactRevision - 1n });
    for (const started of this.#starters.splice(0)) started();
  }

  /** @internal The node is gone: the rest of a revision comes no more. */
  onBroken(): void {
    this.#forgetPartial();
  }

  /** @internal It ends with an error, after what waits to be read. */
  fail(error: HoldfastError): void {
    this.#finish(error);
  }

  #put(events: ConfigEvent[], bytes: number, revision: bigint): void {
    this.#bytes += bytes;
    const last = this.#items.at(-1);
    if (this.#open !== undefined && last?.type === 'changes') {
      for (const event of events) this.#open.push(event);
      this.#items[this.#items.length - 1] = { type: 'changes', revision, events: this.#open };
    } else {
      this.#give({ type: 'changes', revision, events });
      this.#open = this.#items.length > 0 ? events : undefined;
    }
    if (this.#bytes < this.#maxBytes || this.#isFull || this.#items.length === 0) return;
    this.#isFull = true;
    this.#carrier.onFull(this);
  }

  #give(item: WatchItem): void {
    this.#open = undefined;
    const taker = this.#taker;
    if (taker === undefined) {
      const last = this.#items.at(-1);
      // A position takes the place of the one before it.
      if (item.type !== 'changes' && last?.type === item.type) this.#items[this.#items.length - 1] = item;
      else this.#items.push(item);
      return;
    }
    this.#taker = undefined;
    taker.resolve({ value: item, done: false });
    this.#emptied();
  }

  #emptied(): void {
    this.#open = undefined;
    this.#bytes = 0;
    if (!this.#isFull) return;
    this.#isFull = false;
    if (this.#end === undefined) this.#carrier.onRoom(this);
  }

  #forgetPartial(): void {
    this.#partial = [];
    this.#partialBytes = 0;
  }

  #finish(error: HoldfastError | undefined): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#forgetPartial();
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#carrier.onOver(this);
    for (const started of this.#starters.splice(0)) started();
    const taker = this.#taker;
    this.#taker = undefined;
    if (taker === undefined) return;
    this.#end = { error: undefined };
    if (error === undefined) taker.resolve({ value: undefined, done: true });
    else taker.reject(error);
  }

  readonly #onAbort = () => this.fail(cancelled(this.#options.signal!));
}
