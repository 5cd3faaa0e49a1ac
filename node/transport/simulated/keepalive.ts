import type { Clock, Timer } from '@holdfast/client/clock';
import type { ConnectionEnd, Frame } from './simulated-connection.ts';

/** Pings the other end of a connection, and gives the connection up when it does not answer. */
export class Keepalive {
  readonly #end: ConnectionEnd;
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #timeoutMs: number;
  readonly #onSilent: () => void;
  #timer: Timer;

  constructor(end: ConnectionEnd, clock: Clock, everyMs: number, timeoutMs: number, onSilent: () => void) {
    this.#end = end;
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#timeoutMs = timeoutMs;
    this.#onSilent = onSilent;
    this.#timer = clock.setTimer(everyMs, () => this.#ping());
  }

  /** Takes pings and pongs; false: the frame is of another kind. */
  take(frame: Frame): boolean {
    if (frame.kind === 'ping') this.#end.send({ kind: 'pong' });
    else if (frame.kind === 'pong') this.#next();
    else return false;
    return true;
  }

  stop(): void {
    this.#timer.cancel();
  }

  #ping(): void {
    this.#end.send({ kind: 'ping' });
    this.#timer = this.#clock.setTimer(this.#timeoutMs, () => {
      this.#end.close();
      this.#onSilent();
    });
  }

  #next(): void {
    this.#timer.cancel();
    this.#timer = this.#clock.setTimer(this.#everyMs, () => this.#ping());
  }
}
