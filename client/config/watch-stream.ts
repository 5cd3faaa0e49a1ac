import { ConfigService } from '@holdfast/proto/config/v1/config';
import type { Timer } from '../clock.ts';
import type { ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import type { StreamConnection } from '../transport.ts';
import type { ConfigEvent } from './config-event.ts';
import type { ConfigWatch } from './config-watch.ts';
import { decodeWatchResponse, encodeWatchRequest, type WatchAnswers } from './watch-codec.ts';

/** Watches of one stream, as the node allows. */
const MAX_WATCHES = 10_000;
/** How often a node says something, until it has told how often. */
const DEFAULT_HEARTBEAT_MS = 3_000;
/** So many heartbeats that do not come mean that the node is gone or stands still. */
const SILENT_HEARTBEATS = 2;
/** How often the position is asked for, so that a watch without changes need not begin far back. */
const PROGRESS_MS = 10_000;

/** Who owns the streams. */
export interface WatchStreamOwner {
  /** The node lives: it has said something about a watch. */
  onAnswered(stream: WatchStream): void;
  /** A node will not go on with this watch. */
  onRefused(stream: WatchStream, watch: ConfigWatch, error: HoldfastError): void;
  /** What comes before its `nextRevision` is gone; it is to begin there. */
  onCompacted(watch: ConfigWatch): void;
  /** The stream is over; these watches were on it. */
  onBroken(stream: WatchStream, watches: readonly ConfigWatch[], error: HoldfastError): void;
}

interface CarriedWatch {
  readonly watch: ConfigWatch;
  /** Among what was said on this stream; 0: not begun. */
  createdAt: number;
}

/** One watch stream to one node, with any number of watches. A watch that comes again gets another number. */
export class WatchStream implements WatchAnswers {
  readonly endpoint: string;
  readonly #core: ClientCore;
  readonly #owner: WatchStreamOwner;
  readonly #connection: StreamConnection;
  readonly #watches = new Map<number, CarriedWatch>();
  readonly #ids = new Map<ConfigWatch, number>();
  #outbox: Uint8Array[] = [];
  #phase: 'opening' | 'ready' | 'blocked' | 'ended' = 'opening';
  #lastId = 0;
  #said = 0;
  /** Watches that had begun when the position was asked for. */
  #progressAskedAt = 0;
  #heartbeatMs = DEFAULT_HEARTBEAT_MS;
  #heardAtMs = 0;
  #silence: Timer | undefined;
  #progress: Timer | undefined;

  constructor(endpoint: string, core: ClientCore, owner: WatchStreamOwner) {
    this.endpoint = endpoint;
    this.#core = core;
    this.#owner = owner;
    this.#connection = core.transport.openStream(endpoint, ConfigService.method.watch, {
      onOpen: () => this.#onOpen(),
      onDrain: () => this.#becomeReady(),
      onMessage: (message) => this.#onMessage(message),
      onEnd: (error) => this.#fail(error ?? endedByNode(this.endpoint)),
    });
  }

  get hasRoom(): boolean {
    return this.#phase !== 'ended' && this.#watches.size < MAX_WATCHES;
  }

  get isEmpty(): boolean {
    return this.#watches.size === 0;
  }

  /** Begins a watch where it is now. */
  add(watch: ConfigWatch): void {
    this.#lastId += 1;
    this.#watches.set(this.#lastId, { watch, createdAt: 0 });
    this.#ids.set(watch, this.#lastId);
    this.#send(encodeWatchRequest({ case: 'create', value: watch.request(this.#lastId) }));
  }

  /** Ends a watch on this stream; what still comes for it is passed over. */
  remove(watch: ConfigWatch): void {
    const id = this.#forget(watch);
    if (id !== undefined) this.#send(encodeWatchRequest({ case: 'cancel', value: { watchId: BigInt(id) } }));
  }

  /** Ends the stream. */
  close(): void {
    if (this.#phase === 'ended') return;
    this.#end();
    this.#connection.cancel();
  }

  /** Ends the stream for a reason that its watches are to hear. */
  giveUp(error: HoldfastError): void {
    if (this.#phase === 'ended') return;
    this.#connection.cancel();
    this.#fail(error);
  }

  onCreated(watchId: number, revision: bigint, heartbeatMs: number): void {
    if (heartbeatMs > 0 && heartbeatMs !== this.#heartbeatMs) {
      this.#heartbeatMs = heartbeatMs;
      this.#awaitWord();
    }
    const carried = this.#watches.get(watchId);
    if (carried === undefined) return;
    this.#said += 1;
    carried.createdAt = this.#said;
    this.#owner.onAnswered(this);
    carried.watch.onCreated(revision);
  }

  onEvents(watchId: number, events: ConfigEvent[], bytes: number, revision: bigint, more: boolean): void {
    this.#watches.get(watchId)?.watch.onEvents(events, bytes, revision, more);
  }

  onProgress(watchId: number | undefined, revision: bigint): void {
    if (watchId !== undefined) {
      this.#watches.get(watchId)?.watch.onProgress(revision);
      return;
    }
    for (const { watch, createdAt } of this.#watches.values())
      if (createdAt > 0 && createdAt <= this.#progressAskedAt) watch.onProgress(revision);
  }

  onCancelled(watchId: number, error: HoldfastError | undefined, compactRevision: bigint): void {
    const watch = this.#watches.get(watchId)?.watch;
    if (watch === undefined) return;
    this.#forget(watch);
    if (error?.reason === 'REVISION_COMPACTED' && compactRevision > 0n) {
      watch.onCompacted(compactRevision);
      this.#owner.onCompacted(watch);
    } else this.#owner.onRefused(this, watch, error ?? endedByNode(this.endpoint));
  }

  #onOpen(): void {
    this.#heardAtMs = this.#core.clock.monotonicMs();
    this.#awaitWord();
    this.#askProgress();
    this.#becomeReady();
  }

  #becomeReady(): void {
    if (this.#phase === 'ended') return;
    this.#phase = 'ready';
    const waiting = this.#outbox;
    this.#outbox = [];
    for (const message of waiting) this.#send(message);
  }

  #send(message: Uint8Array): void {
    if (this.#phase === 'ended') return;
    if (this.#phase !== 'ready') this.#outbox.push(message);
    else if (!this.#connection.send(message)) this.#phase = 'blocked';
  }

  #onMessage(message: Uint8Array): void {
    if (this.#phase === 'ended') return;
    this.#heardAtMs = this.#core.clock.monotonicMs();
    try {
      decodeWatchResponse(message, this);
    } catch (cause) {
      this.giveUp(new HoldfastError({ reason: 'UNAVAILABLE', message: 'the answer cannot be read', cause }));
    }
  }

  /** One timer: a message costs no more than to note when it came. */
  #awaitWord(): void {
    this.#silence?.cancel();
    const dueMs = this.#heardAtMs + this.#heartbeatMs * SILENT_HEARTBEATS;
    // Whole milliseconds: a timer that came too early by a rounding would come again at once, for ever.
    const delayMs = Math.max(1, Math.ceil(dueMs - this.#core.clock.monotonicMs()));
    this.#silence = this.#core.clock.setTimer(delayMs, () => this.#onQuiet(dueMs));
  }

  #onQuiet(dueMs: number): void {
    const nowMs = this.#core.clock.monotonicMs();
    const isLate = nowMs - dueMs > this.#heartbeatMs / 2;
    const isSilent = nowMs >= this.#heardAtMs + this.#heartbeatMs * SILENT_HEARTBEATS;
    if (isSilent && !isLate) {
      this.giveUp(silent(this.endpoint, nowMs - this.#heardAtMs));
      return;
    }
    // This process itself stood still: what has come meanwhile is read first.
    if (isSilent) this.#heardAtMs = nowMs - this.#heartbeatMs;
    this.#awaitWord();
  }

  #askProgress(): void {
    this.#progress = this.#core.clock.setTimer(PROGRESS_MS, () => {
      if (this.#said > 0) {
        this.#progressAskedAt = this.#said;
        this.#send(encodeWatchRequest({ case: 'progress', value: {} }));
      }
      this.#askProgress();
    });
  }

  #forget(watch: ConfigWatch): number | undefined {
    const id = this.#ids.get(watch);
    if (id === undefined) return undefined;
    this.#ids.delete(watch);
    this.#watches.delete(id);
    return id;
  }

  #fail(error: HoldfastError): void {
    if (this.#phase === 'ended') return;
    const watches = [...this.#ids.keys()];
    this.#end();
    this.#owner.onBroken(this, watches, error);
  }

  #end(): void {
    this.#phase = 'ended';
    this.#silence?.cancel();
    this.#progress?.cancel();
    this.#watches.clear();
    this.#ids.clear();
    this.#outbox = [];
  }
}

function endedByNode(endpoint: string): HoldfastError {
  return new HoldfastError({ reason: 'UNAVAILABLE', message: `${endpoint} ended the watch` });
}

function silent(endpoint: string, silentMs: number): HoldfastError {
  const message = `${endpoint} has not said a word for ${Math.round(silentMs)} ms, and is given up for now`;
  return new HoldfastError({ reason: 'UNAVAILABLE', message });
}
