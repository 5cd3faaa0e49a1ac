import type { Clock, Timer } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import type { ReceiveRequest, ReceiveResponse } from '@holdfast/proto/raft/v1/peer';
import type { PeerLane } from '../runtime/peer-transport.ts';
import { PeerDial, type PeerTlsFiles } from './peer-dial.ts';
import { FORMAT_VERSION } from './peer-service.ts';

/** Between two dials; a peer that has come back is to be reached within 2 s. */
const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 1_000;

/** What a link needs to dial. */
export interface PeerLinkOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly lane: PeerLane;
  readonly request: ReceiveRequest;
  readonly tls: PeerTlsFiles | undefined;
  /** `host:port` of the peer, looked up at each dial; undefined when it is not known now. */
  readonly address: () => string | undefined;
  readonly receive: (message: Uint8Array) => void;
  /** A stream broke, or a dial failed otherwise than the one before. */
  readonly onBroken: (error: Error) => void;
}

/** What is known of the way from a peer. */
export interface IncomingStats {
  /** Whether the stream stands. */
  readonly isOpen: boolean;
  /** When that changed last, in monotonic milliseconds; undefined: it never did. */
  readonly sinceMs: number | undefined;
  /** Streams after the first. */
  readonly reconnects: number;
  readonly messages: number;
  readonly bytes: number;
}

type Phase =
  | { readonly name: 'waiting'; readonly timer: Timer }
  | { readonly name: 'dialling' | 'open'; readonly dial: PeerDial; readonly sinceMs: number }
  | { readonly name: 'closed' };

/** What one peer has for this node on one lane: a stream that is dialled again whenever it ends. */
export class PeerLink {
  readonly #options: PeerLinkOptions;
  #phase: Phase = { name: 'closed' };
  #failures = 0;
  /** What the last dial failed of. */
  #problem: string | undefined;
  #wasSilent = false;
  #sinceMs: number | undefined;
  #streams = 0;
  readonly #received = { messages: 0, bytes: 0 };

  constructor(options: PeerLinkOptions) {
    this.#options = options;
    this.#dial();
  }

  get stats(): IncomingStats {
    return {
      isOpen: this.#phase.name === 'open',
      sinceMs: this.#sinceMs,
      reconnects: Math.max(0, this.#streams - 1),
      ...this.#received,
    };
  }

  close(): void {
    const phase = this.#phase;
    this.#phase = { name: 'closed' };
    if (phase.name === 'waiting') phase.timer.cancel();
    else if (phase.name !== 'closed') phase.dial.cancel();
    if (phase.name === 'open') this.#sinceMs = this.#options.clock.monotonicMs();
  }

  #dial(): void {
    const { clock, lane, request, tls } = this.#options;
    const sinceMs = clock.monotonicMs();
    const address = this.#options.address();
    if (address === undefined) return this.#becomeWaiting(sinceMs);
    const dial = new PeerDial({
      clock,
      address,
      request,
      lane,
      tls,
      probes: this.#wasSilent,
      onOpen: () => this.#becomeOpen(dial),
      onResponse: (response) => this.#onResponse(response),
      onEnd: (error, isSilent) => this.#onEnd(error, isSilent, sinceMs),
    });
    this.#phase = { name: 'dialling', dial, sinceMs };
  }

  #becomeOpen(dial: PeerDial): void {
    this.#sinceMs = this.#options.clock.monotonicMs();
    this.#phase = { name: 'open', dial, sinceMs: this.#sinceMs };
    this.#streams++;
    this.#problem = undefined;
  }

  #onResponse({ formatVersion, messages }: ReceiveResponse): void {
    const phase = this.#phase;
    if (formatVersion !== FORMAT_VERSION && phase.name === 'open') {
      phase.dial.cancel();
      const problem = `the peer sends format ${formatVersion}, this node knows ${FORMAT_VERSION}`;
      this.#onEnd(new Error(problem), false, phase.sinceMs);
      return;
    }
    for (const message of messages) {
      this.#received.messages++;
      this.#received.bytes += message.length;
      this.#options.receive(message);
    }
  }

  #onEnd(error: Error, isSilent: boolean, dialledMs: number): void {
    const wasOpen = this.#phase.name === 'open';
    const nowMs = this.#options.clock.monotonicMs();
    if (wasOpen) {
      if (nowMs - this.#sinceMs! > LONGEST_BACKOFF_MS) this.#failures = 0;
      this.#sinceMs = nowMs;
    }
    this.#wasSilent = isSilent;
    this.#becomeWaiting(dialledMs);
    const problem = withoutTime(error.message);
    if (wasOpen || problem !== this.#problem) this.#options.onBroken(error);
    this.#problem = problem;
  }

  /** The time that a dial took counts: one that hung does not delay the next one further. */
  #becomeWaiting(dialledMs: number): void {
    const { clock, random } = this.#options;
    const ceilingMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** this.#failures++);
    const jitter = 0.5 + random.float() / 2;
    const tookMs = clock.monotonicMs() - dialledMs;
    const delayMs = Math.max(FIRST_BACKOFF_MS * jitter, ceilingMs * jitter - tookMs);
    this.#phase = { name: 'waiting', timer: clock.setTimer(delayMs, () => this.#dial()) };
  }
}

/** grpc-js puts the time into what it says of connections; the same failure would look new each time. */
function withoutTime(problem: string): string {
  return problem.replace(/ \(\d{4}-\d\d-\d\dT[^)]*\)/g, '');
}
