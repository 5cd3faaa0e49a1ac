/** All streams on a node that follow the configuration by one contract: what happens to them by itself. */
import type { Clock } from '@holdfast/client/clock';
import type { HoldfastError } from '@holdfast/client/error';
import type { Coordination } from '../coordination/coordination.ts';
import type { Configuration } from '../coordination/configuration.ts';
import type { ConfigEntry, ConfigEvent } from '../coordination/coordination-events.ts';
import type { WatchHub } from '../coordination/watch-hub.ts';
import type { CallContext, MessageStream } from './handler.ts';

/** How often streams are looked at. */
const TICK_MS = 1_000;

/** What the streams of a node share. */
export interface WatchedNode {
  readonly hub: WatchHub;
  /** Monotonic time. */
  readonly now: () => number;
  /** Calls when everything that has happened in this turn has been taken. */
  readonly afterTurn: (callback: () => void) => void;
  /** Resolves when what was acknowledged before is applied on this node. */
  readonly awaitRead: (deadlineMs: number) => Promise<void>;
  /** What a change has replaced; undefined: it is forgotten. */
  readonly previous: (event: ConfigEvent) => ConfigEntry | undefined;
}

/** A stream that is served. */
export interface ServedStream {
  /** Called about every second. */
  tick(nowMs: number): void;
  /** Permissions have changed. */
  onPermissions(): void;
  /** Ends it. */
  end(error: HoldfastError): void;
}

/** Begins to serve a stream; `onClosed` is called when it is gone. */
export type OpenStream = (
  node: WatchedNode,
  stream: MessageStream,
  context: CallContext,
  onClosed: (closed: ServedStream) => void,
) => ServedStream;

export interface WatchStreamsOptions {
  readonly open: OpenStream;
  readonly coordination: Coordination;
  readonly configuration: Configuration;
  readonly clock: Clock;
  /** Aborted when the node is to stop: streams end. */
  readonly stopping: AbortSignal;
}

export class WatchStreams {
  readonly #options: WatchStreamsOptions;
  readonly #node: WatchedNode;
  readonly #streams = new Set<ServedStream>();
  #isTicking = false;

  constructor(options: WatchStreamsOptions) {
    const { coordination, configuration, clock, stopping } = options;
    this.#options = options;
    this.#node = {
      hub: configuration.watches,
      now: () => clock.monotonicMs(),
      afterTurn: (callback) => clock.afterTurn(callback),
      awaitRead: (deadlineMs) => coordination.awaitRead({ deadlineMs, isRouted: false }),
      previous: ({ previous }) => previous && coordination.machine.config.entryAt(previous),
    };
    const onPermissions = () => {
      for (const stream of this.#streams) stream.onPermissions();
    };
    coordination.observe({ onPermissions, onReplaced: onPermissions });
    stopping.addEventListener('abort', () => this.#endAll(stopping.reason as HoldfastError), { once: true });
  }

  /** Serves a stream. */
  readonly watch = (context: CallContext, stream: MessageStream): void => {
    const { stopping, open } = this.#options;
    const served = open(this.#node, stream, context, (closed) => this.#streams.delete(closed));
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
