/**
 * Follows keys of the configuration for one call, which takes the changes when it comes to it.
 *
 *  1. What waits to be taken is bounded: beyond, the hub falls behind and reads it again later.
 *  2. Whoever waits hears that the node stops, that nobody leads it, or that the call is over.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import type { ConfigEvent } from '../../coordination/coordination-events.ts';
import type { Configuration } from '../../coordination/configuration.ts';
import type { Coordination } from '../../coordination/coordination.ts';
import type { Watcher, WatchSink, WatchTerms } from '../../coordination/watch-hub.ts';

/** Changes that wait, about. */
const MAX_WAITING = 256;
/** How often it is looked whether somebody leads. */
const LOOK_MS = 3_000;

export interface WatchingNode {
  readonly configuration: Pick<Configuration, 'watches'>;
  readonly coordination: Pick<Coordination, 'unledError'>;
  readonly clock: Clock;
  /** Aborted when the node is to stop. */
  readonly stopping: AbortSignal;
}

export class KeyWatch implements WatchSink {
  readonly #node: WatchingNode;
  readonly #signal: AbortSignal;
  readonly #watchers = new Set<Watcher>();
  #waiting: ConfigEvent[] = [];
  /** History was forgotten before it was told. */
  #hasGap = false;
  #wake: () => void = () => undefined;

  constructor(node: WatchingNode, signal: AbortSignal) {
    this.#node = node;
    this.#signal = signal;
  }

  /** Follows these keys as well, from a revision on. */
  add(terms: WatchTerms, from: number): this {
    const watcher = this.#node.configuration.watches.add(terms, from, this);
    if (watcher === undefined) this.#hasGap = true;
    else this.#watchers.add(watcher);
    return this;
  }

  /** Invariant 1. */
  get hasRoom(): boolean {
    return this.#waiting.length < MAX_WAITING;
  }

  take(_: Watcher, __: number, events: readonly ConfigEvent[]): void {
    this.#waiting.push(...events);
    this.#wake();
  }

  onCompacted(watcher: Watcher): void {
    this.#watchers.delete(watcher);
    this.#hasGap = true;
    this.#wake();
  }

  /** What has changed, as soon as something has; nothing: some of it is forgotten, so look anew. Invariant 2. */
  async next(): Promise<readonly ConfigEvent[]> {
    while (this.#waiting.length === 0 && !this.#hasGap) await this.#more();
    const events = this.#waiting;
    this.#waiting = [];
    if (this.#hasGap) return [];
    this.#node.configuration.watches.resume(this);
    return events;
  }

  /** Follows nothing any more. */
  close(): void {
    for (const watcher of this.#watchers) this.#node.configuration.watches.remove(watcher);
    this.#watchers.clear();
  }

  async #more(): Promise<void> {
    const { clock, stopping, coordination } = this.#node;
    const signals = [this.#signal, stopping];
    for (const signal of signals) signal.throwIfAborted();
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = clock.setTimer(LOOK_MS, resolve);
      for (const signal of signals) signal.addEventListener('abort', this.#wake, { once: true });
    });
    timer?.cancel();
    for (const signal of signals) signal.removeEventListener('abort', this.#wake);
    for (const signal of signals) signal.throwIfAborted();
    const { unledError } = coordination;
    if (unledError !== undefined) throw unledError;
  }
}
