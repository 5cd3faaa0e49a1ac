import type { EventQueue } from '../../runtime/simulated/simulated-scheduler.ts';

/** What travels over a connection: HTTP/2 as far as calls can tell. Payloads are encoded messages. */
export type Frame =
  /** Begins a call; with `bytes` it is the whole request, without them a stream of messages follows. */
  | {
      readonly kind: 'call';
      readonly stream: number;
      readonly path: string;
      readonly timeoutMs: number | undefined;
      /** Value of the header `holdfast-routes`. */
      readonly routes: string | undefined;
      readonly bytes: Uint8Array | undefined;
    }
  | { readonly kind: 'message'; readonly stream: number; readonly bytes: Uint8Array }
  /** The caller sends no more. */
  | { readonly kind: 'end'; readonly stream: number }
  /** The node ends the call. */
  | {
      readonly kind: 'status';
      readonly stream: number;
      readonly code: number;
      readonly details: string;
      readonly statusDetails: Uint8Array | undefined;
    }
  /** The caller ends the call. */
  | { readonly kind: 'cancel'; readonly stream: number }
  /** So many bytes of messages were taken by whom they were for. */
  | { readonly kind: 'credit'; readonly stream: number; readonly bytes: number }
  | { readonly kind: 'ping' }
  | { readonly kind: 'pong' };

/** Bytes that a frame carries, about. */
export function frameBytes(frame: Frame): number {
  return 16 + ('bytes' in frame && typeof frame.bytes === 'object' ? frame.bytes.length : 0);
}

/** Carries what one end sends to the other, in order. */
export interface Wire {
  /** `deliver` runs when the bytes have come, if they ever do. */
  carry(from: ConnectionEnd, bytes: number, deliver: () => void): void;
  /** A frame is about to leave; false: the connection broke over it. */
  admit(from: ConnectionEnd, frame: Frame): boolean;
}

/**
 * One end of a connection, in a process. Ordered and reliable until it breaks, as TCP is:
 * what is sent over a cut link waits until the link is mended or somebody gives up.
 */
export class ConnectionEnd {
  readonly host: string;
  readonly process: EventQueue;
  readonly isCaller: boolean;
  readonly #wire: Wire;
  #peer: ConnectionEnd | undefined;
  #state: 'open' | 'broken' | 'gone' = 'open';
  #receive: (frame: Frame) => void = () => undefined;
  #broken: () => void = () => undefined;
  #hasTold = false;
  /** For the wire: when the last thing sent arrives, and what waits for the link to be mended. */
  lastArrivalMs = 0;
  readonly held: (() => void)[] = [];

  constructor(host: string, process: EventQueue, isCaller: boolean, wire: Wire) {
    this.host = host;
    this.process = process;
    this.isCaller = isCaller;
    this.#wire = wire;
  }

  /** Makes two ends a connection. */
  static join(a: ConnectionEnd, b: ConnectionEnd): void {
    a.#peer = b;
    b.#peer = a;
  }

  get peer(): ConnectionEnd {
    return this.#peer!;
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  onFrame(receive: (frame: Frame) => void): void {
    this.#receive = receive;
  }

  /** Called once when the connection is over for this end, unless `close` ended it. */
  onBroken(broken: () => void): void {
    this.#broken = broken;
    if (this.#hasTold) this.process.after(0, broken); // it broke before anybody had it
  }

  send(frame: Frame): void {
    if (this.#state !== 'open' || !this.#wire.admit(this, frame)) return;
    this.#wire.carry(this, frameBytes(frame), () => this.peer.#arrive(frame));
  }

  /** Ends the connection from this end, and tells the other as far as the link allows. */
  close(): void {
    if (this.#state !== 'open') return;
    this.#state = 'broken';
    this.#wire.carry(this, 16, () => this.peer.break());
  }

  /** The connection is over for this end: its owner is told when its process next runs. */
  break(): void {
    if (this.#state !== 'open') return;
    this.#state = 'broken';
    this.process.after(0, () => {
      this.#hasTold = true;
      this.#broken();
    });
  }

  /** The process is gone. `isTold`: its machine says so to the other end; else it is as if it were silent. */
  abandon(isTold: boolean): void {
    if (this.#state === 'gone') return;
    const wasOpen = this.#state === 'open';
    this.#state = 'gone';
    if (isTold && wasOpen) this.#wire.carry(this, 16, () => this.peer.break());
  }

  /** Whether nobody has told the other end that this one is gone. */
  get isGone(): boolean {
    return this.#state === 'gone';
  }

  #arrive(frame: Frame): void {
    if (this.#state !== 'open') return;
    this.process.after(0, () => {
      if (this.#state === 'open') this.#receive(frame);
    });
  }
}
