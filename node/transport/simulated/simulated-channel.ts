import type { Clock, Timer } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { EventQueue } from '../../runtime/simulated/simulated-scheduler.ts';
import { Keepalive } from './keepalive.ts';
import type { ConnectionEnd, Frame } from './simulated-connection.ts';
import type { SimulatedLinks } from './simulated-links.ts';

/** As in client/grpc-transport.ts. */
const KEEPALIVE_MS = 15_000;
const KEEPALIVE_TIMEOUT_MS = 8_000;
const CONNECT_TIMEOUT_MS = 3_000;
/** Between two attempts to connect: doubling. */
const FIRST_BACKOFF_MS = 100;
const LAST_BACKOFF_MS = 500;

/** Where a caller's machine and process are. */
export interface CallerPlace {
  readonly links: SimulatedLinks;
  readonly host: string;
  readonly process: EventQueue;
  readonly clock: Clock;
}

/** One call as its caller's transport holds it. */
export interface MadeCall {
  onFrame(frame: Frame): void;
  onBroken(): void;
}

/** A connection that stands, with the calls on it. */
export class CallerConnection {
  readonly #end: ConnectionEnd;
  readonly #keepalive: Keepalive;
  readonly #calls = new Map<number, MadeCall>();
  readonly #onLost: () => void;
  #lastStream = 0;
  #isLost = false;

  constructor(end: ConnectionEnd, clock: Clock, onLost: () => void) {
    this.#end = end;
    this.#onLost = onLost;
    this.#keepalive = new Keepalive(end, clock, KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, () => this.#lose());
    end.onBroken(() => this.#lose());
    end.onFrame((frame) => {
      if (!this.#keepalive.take(frame) && 'stream' in frame) this.#calls.get(frame.stream)?.onFrame(frame);
    });
  }

  /** Begins a call; its number. */
  begin(call: MadeCall): number {
    this.#lastStream += 2;
    if (this.#isLost) this.#end.process.after(0, () => call.onBroken());
    else this.#calls.set(this.#lastStream, call);
    return this.#lastStream;
  }

  send(frame: Frame): void {
    this.#end.send(frame);
  }

  /** Nothing of this call matters any more. */
  forget(stream: number): void {
    this.#calls.delete(stream);
  }

  close(): void {
    this.#end.close();
    this.#lose();
  }

  #lose(): void {
    this.#isLost = true;
    this.#keepalive.stop();
    this.#onLost();
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.onBroken();
  }
}

interface Waiter {
  readonly resolve: (connection: CallerConnection) => void;
  readonly reject: (error: HoldfastError) => void;
  readonly isPatient: boolean;
  readonly timer: Timer;
}

/** The way to one node: connects when it is needed, again after a while when that failed. */
export class SimulatedChannel {
  readonly #place: CallerPlace;
  readonly #endpoint: string;
  #connection: CallerConnection | undefined;
  #isConnecting = false;
  /** Numbers attempts: a late answer to one that was given up is turned away. */
  #attempt = 0;
  #failures = 0;
  #notBeforeMs = 0;
  #waiters = new Set<Waiter>();
  #isClosed = false;

  constructor(place: CallerPlace, endpoint: string) {
    this.#place = place;
    this.#endpoint = endpoint;
  }

  /** The connection, when it stands. What fails here was never sent. A patient caller waits for a node that is away. */
  connected(timeoutMs: number, isPatient: boolean): Promise<CallerConnection> {
    if (this.#connection !== undefined) return Promise.resolve(this.#connection);
    if (this.#isClosed) return Promise.reject(unreachable(this.#endpoint, 'the client is closed'));
    const isBackingOff = !this.#isConnecting && this.#place.clock.monotonicMs() < this.#notBeforeMs;
    if (isBackingOff && !isPatient) {
      return Promise.reject(unreachable(this.#endpoint, 'it cannot be reached'));
    }
    return new Promise((resolve, reject) => {
      const timer = this.#place.clock.setTimer(Math.min(timeoutMs, CONNECT_TIMEOUT_MS), () => {
        this.#waiters.delete(waiter);
        reject(unreachable(this.#endpoint, 'connecting takes too long'));
      });
      const waiter: Waiter = { resolve, reject, isPatient, timer };
      this.#waiters.add(waiter);
      this.#connect();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#connection?.close();
    for (const waiter of this.#waiters) this.#refuse(waiter, 'the client is closed');
  }

  #connect(): void {
    if (this.#isConnecting) return;
    this.#isConnecting = true;
    const { clock, links, host, process } = this.#place;
    const attempt = ++this.#attempt;
    const isCurrent = () => attempt === this.#attempt && !this.#isClosed;
    const begin = () => {
      if (!isCurrent()) return;
      const timer = clock.setTimer(CONNECT_TIMEOUT_MS, () => isCurrent() && this.#fail());
      links.connect(host, process, this.#endpoint, {
        onConnected: (end) => {
          timer.cancel();
          if (isCurrent()) this.#stand(end);
          else end.close();
        },
        onRefused: () => {
          timer.cancel();
          if (isCurrent()) this.#fail();
        },
      });
    };
    const waitMs = this.#notBeforeMs - clock.monotonicMs();
    if (waitMs > 0) clock.setTimer(waitMs, begin);
    else begin();
  }

  #stand(end: ConnectionEnd): void {
    this.#isConnecting = false;
    this.#attempt++;
    this.#failures = 0;
    this.#notBeforeMs = 0;
    const connection = new CallerConnection(end, this.#place.clock, () => {
      if (this.#connection === connection) this.#connection = undefined;
    });
    this.#connection = connection;
    for (const waiter of this.#waiters) {
      waiter.timer.cancel();
      waiter.resolve(connection);
    }
    this.#waiters.clear();
  }

  #fail(): void {
    this.#isConnecting = false;
    this.#attempt++;
    const backoffMs = Math.min(LAST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** this.#failures++);
    this.#notBeforeMs = this.#place.clock.monotonicMs() + backoffMs;
    for (const waiter of this.#waiters) {
      if (!waiter.isPatient) this.#refuse(waiter, 'it cannot be reached');
    }
    if (this.#waiters.size > 0) this.#connect();
  }

  #refuse(waiter: Waiter, why: string): void {
    this.#waiters.delete(waiter);
    waiter.timer.cancel();
    waiter.reject(unreachable(this.#endpoint, why));
  }
}

function unreachable(endpoint: string, why: string): HoldfastError {
  const message = `${endpoint}: ${why}; the call was not sent`;
  return new HoldfastError({ reason: 'UNAVAILABLE', message, outcome: 'NOT_APPLIED' });
}
