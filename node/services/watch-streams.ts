/** All streams of `ConfigService.Watch` of a node. */
import type { Clock } from '@holdfast/client/clock';
import type { HoldfastError } from '@holdfast/client/error';
import type { Coordination } from '../coordination/coordination.ts';
import type { Configuration } from '../coordination/configuration.ts';
import type { CallContext, MessageStream } from './handler.ts';
import { EventEncoder } from './watch-encoder.ts';
import { WatchStream, type WatchedNode } from './watch-stream.ts';

/** How often streams are looked at. */
const TICK_MS = 1_000;

export interface WatchStreamsOptions {
  readonly coordination: Coordination;
  readonly configuration: Configuration;
  readonly clock: Clock;
  /** Aborted when the node is to stop: streams end. */
  readonly stopping: AbortSignal;
}

export class WatchStreams {
  readonly #options: WatchStreamsOptions;
  readonly #node: WatchedNode;
  readonly #streams = new Set<WatchStream>();
  #isTicking = false;

  constructor(options: WatchStreamsOptions) {
    const { coordination, configuration, clock, stopping } = options;
    this.#options = options;
    this.#node = {
      hub: configuration.watches,
      encoder: new EventEncoder(),
      now: () => clock.monotonicMs(),
      afterTurn: (callback) => clock.afterTurn(callback),
      awaitRead: (deadlineMs) => coordination.awaitRead({ deadlineMs, isRouted: false }),
      previous: ({ previous }) => previous && coordination.machine.config.entryAt(previous),
    };
    stopping.addEventListener('abort', () => this.#endAll(stopping.reason as HoldfastError), { once: true });
  }

  /** Serves a stream. */
  readonly watch = (context: CallContext, stream: MessageStream): void => {
    const { stopping } = this.#options;
    const served = new WatchStream(this.#node, stream, context, (closed) => this.#streams.delete(closed));
    this.#streams.add(served);
    if (stopping.aborted) served.end(stopping.reason as HoldfastError);
    else this.#tickLater();
  };

  #tickLater(): void {
    if (this.#isTicking) return;
    this.#isTicking = true;
    this.#options.clock.setTimer(TICK_MS, () => {
      this.#isTicking = false;
      this.#tick();
      if (this.#streams.size > 0) this.#tickLater();
    });
  }

  /** A node that knows of no leader tells nothing new: callers go elsewhere. */
  #tick(): void {
    const { unledError } = this.#options.coordination;
    if (unledError !== undefined) return this.#endAll(unledError);
    const nowMs = this.#node.now();
    for (const stream of this.#streams) stream.tick(nowMs);
  }

  #endAll(error: HoldfastError): void {
    for (const stream of this.#streams) stream.end(error);
  }
}
