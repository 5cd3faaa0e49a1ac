import type { Clock } from './clock.ts';
import { Deadlines } from './deadlines.ts';
import { Endpoints } from './endpoints.ts';
import { HoldfastError } from './error.ts';
import type { LeaderHint } from './leader-hint.ts';
import type { Random } from './random.ts';
import { Sequences } from './sequences.ts';
import type { Transport } from './transport.ts';

/** What every part of one client shares. */
export interface ClientCore {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly endpoints: Endpoints;
  readonly deadlines: Deadlines;
  readonly sequences: Sequences;
  /** Who leads group 0: configuration, leases, locks, elections, sequences. */
  readonly coordinator: LeaderHint;
  /** Default time of a call in milliseconds. */
  readonly timeoutMs: number;
  /** Bound on the bytes of unanswered pipeline calls. */
  readonly maxInFlightBytes: number;
  /** Aborted by close(), with a CLIENT_CLOSED error as its reason. */
  readonly closing: AbortSignal;
}

/** The error of a call that close() refuses or ends. */
export function clientClosed(): HoldfastError {
  return new HoldfastError({ reason: 'CLIENT_CLOSED', message: 'the client is closed' });
}

/** The error of a call whose time is over. */
export function deadlineExceeded(timeoutMs: number, sentTo: string | undefined): HoldfastError {
  const where = sentTo === undefined ? 'it was never sent' : `sent to ${sentTo}`;
  const message = `no answer within ${Math.round(timeoutMs)} ms (${where})`;
  return new HoldfastError({ reason: 'DEADLINE_EXCEEDED', message });
}

/** The error of a call whose signal fired. */
export function cancelled(signal: AbortSignal): HoldfastError {
  return new HoldfastError({ reason: 'CANCELLED', message: 'the call was cancelled', cause: signal.reason });
}

/** So often a node may say that it knows no leader before another one is asked. */
const PATIENT_ATTEMPTS = 3;

/** Whether an error speaks against the node that gave it, so that another should be tried. */
export function blamesEndpoint(error: HoldfastError, attempts = 1): boolean {
  // One of its partitions may be electing; asked again and again, it may be cut off from the others.
  if (error.reason === 'NOT_LEADER') return error.leader === undefined && attempts >= PATIENT_ATTEMPTS;
  return error.code === 'UNAVAILABLE';
}
