import type { KeySelection } from '@holdfast/proto/config/v1/config';
import type { Timer } from '../clock.ts';
import { blamesEndpoint, cancelled, clientClosed, type ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { mayRetry, retryDelayMs } from '../retry.ts';
import type { ConfigWatchOptions } from './config-event.ts';
import { ConfigWatch, type WatchCarrier } from './config-watch.ts';
import { WatchStream, type WatchStreamOwner } from './watch-stream.ts';

/** Reasons after which a node, or another one, goes on with a watch, beside those that any read is repeated for. */
const PASSING: ReadonlySet<string> = new Set(['WATCH_TOO_SLOW', 'WATCHES_TOO_MANY', 'DEADLINE_EXCEEDED']);

/**
 * All watches of a client, on one stream as long as they fit. A watch is on one stream, or
 * waits to be put on one, or is paused because its reader is slow, or is over.
 */
export class WatchStreams implements WatchStreamOwner, WatchCarrier {
  readonly #core: ClientCore;
  readonly #streams = new Set<WatchStream>();
  readonly #places = new Map<ConfigWatch, WatchStream>();
  readonly #waiting = new Set<ConfigWatch>();
  readonly #paused = new Set<ConfigWatch>();
  readonly #timers = new Set<Timer>();
  #placing = false;
  /** Streams that broke since a node last said something about a watch. */
  #breaks = 0;

  constructor(core: ClientCore) {
    this.#core = core;
    core.closing.addEventListener('abort', () => this.#close(), { once: true });
  }

  /** Begins a watch. */
  watch(selection: KeySelection, options: ConfigWatchOptions): ConfigWatch {
    const watch = new ConfigWatch(selection, options, this);
    if (this.#core.closing.aborted) watch.fail(clientClosed());
    else if (options.signal?.aborted) watch.fail(cancelled(options.signal));
    else this.#place(watch);
    return watch;
  }

  onOver(watch: ConfigWatch): void {
    this.#takeOff(watch);
    this.#waiting.delete(watch);
    this.#paused.delete(watch);
  }

  onFull(watch: ConfigWatch): void {
    this.#takeOff(watch);
    this.#waiting.delete(watch);
    this.#paused.add(watch);
  }

  onRoom(watch: ConfigWatch): void {
    if (this.#paused.delete(watch)) this.#place(watch);
  }

  onAnswered(stream: WatchStream): void {
    this.#breaks = 0;
    this.#core.endpoints.answered(stream.endpoint);
  }

  onCompacted(watch: ConfigWatch): void {
    this.#places.delete(watch);
    if (!this.#paused.has(watch)) this.#place(watch);
  }

  onRefused(stream: WatchStream, watch: ConfigWatch, error: HoldfastError): void {
    this.#places.delete(watch);
    if (!mayGoOn(error)) {
      watch.fail(error);
      return;
    }
    watch.refusals += 1;
    this.#placeLater([watch], retryDelayMs(error, watch.refusals, this.#core.random));
    // It speaks for the stream as a whole: its other watches need not wait to be told.
    if (blamesEndpoint(error)) stream.giveUp(error);
  }

  onBroken(stream: WatchStream, watches: readonly ConfigWatch[], error: HoldfastError): void {
    this.#streams.delete(stream);
    for (const watch of watches) {
      this.#places.delete(watch);
      watch.onBroken();
    }
    if (!mayGoOn(error)) {
      for (const watch of watches) watch.fail(error);
      return;
    }
    this.#core.endpoints.failed(stream.endpoint);
    this.#core.coordinator.silentAt(stream.endpoint);
    this.#breaks += 1;
    // Who has others to ask goes there soon, however many nodes before were not there.
    const attempts = this.#core.endpoints.hasUnavoided ? 1 : this.#breaks;
    this.#placeLater(watches, retryDelayMs(error, attempts, this.#core.random));
  }

  #place(watch: ConfigWatch): void {
    this.#waiting.add(watch);
    if (this.#placing) return;
    this.#placing = true;
    this.#core.clock.afterTurn(() => {
      this.#placing = false;
      this.#placeAll();
    });
  }

  #placeLater(watches: readonly ConfigWatch[], delayMs: number): void {
    if (watches.length === 0) return;
    for (const watch of watches) this.#waiting.add(watch);
    const timer = this.#core.clock.setTimer(delayMs, () => {
      this.#timers.delete(timer);
      this.#placeAll();
    });
    this.#timers.add(timer);
  }

  #placeAll(): void {
    for (const watch of this.#waiting) {
      const stream = this.#streamWithRoom();
      this.#waiting.delete(watch);
      this.#places.set(watch, stream);
      stream.add(watch);
    }
  }

  #streamWithRoom(): WatchStream {
    for (const stream of this.#streams) if (stream.hasRoom) return stream;
    // The leader applies a change first, so it also tells it first.
    const endpoint = this.#core.endpoints.pick(this.#core.coordinator.leader);
    const stream = new WatchStream(endpoint, this.#core, this);
    this.#streams.add(stream);
    return stream;
  }

  #takeOff(watch: ConfigWatch): void {
    const stream = this.#places.get(watch);
    if (stream === undefined) return;
    this.#places.delete(watch);
    stream.remove(watch);
    if (!stream.isEmpty || this.#waiting.size > 0) return;
    this.#streams.delete(stream);
    stream.close();
  }

  #close(): void {
    for (const timer of this.#timers) timer.cancel();
    for (const watches of [this.#places.keys(), this.#waiting, this.#paused])
      for (const watch of watches) watch.fail(clientClosed());
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
  }
}

function mayGoOn(error: HoldfastError): boolean {
  return (
    PASSING.has(error.reason) || mayRetry(error, { isWrite: false, sequence: 0, attempts: 1, lost: false })
  );
}
