/** Leases, locks and elections on this node: what services call, and what the state machine tells. */
import type { Clock } from '@holdfast/client/clock';
import type { HoldfastError } from '@holdfast/client/error';
import type { Random } from '@holdfast/client/random';
import { ElectionWatch } from './election-watch.ts';
import type { Hanging, LeaseRow } from './lease-table.ts';
import { Leases } from './leases.ts';
import { Queues } from './queues.ts';
import type { SessionGroup } from './session-group.ts';
import type { SessionEvents } from './session-state.ts';
import type { Place } from './wait-queue.ts';

export interface SessionsOptions {
  readonly group: SessionGroup;
  readonly clock: Clock;
  readonly random: Random;
  /** By how much a change of leader may lengthen what a lease has left. */
  readonly leaseCheckpointMs: number;
}

export class Sessions implements SessionEvents {
  readonly group: SessionGroup;
  readonly leases: Leases;
  readonly queues: Queues;
  readonly elections: ElectionWatch;

  constructor({ group, clock, random, leaseCheckpointMs }: SessionsOptions) {
    this.group = group;
    this.leases = new Leases({ group, clock, checkpointMs: leaseCheckpointMs });
    this.queues = new Queues(group, clock, random);
    this.elections = new ElectionWatch(group);
  }

  onLeaseGranted(lease: bigint, row: Readonly<LeaseRow>): void {
    this.leases.onLeaseGranted(lease, row);
  }

  onLeaseEnded(lease: bigint, hasExpired: boolean): void {
    this.leases.onLeaseEnded(lease, hasExpired);
    this.queues.waits.onLeaseEnded(lease);
  }

  onServed(kind: Hanging, name: string, place: Place): void {
    this.queues.waits.onServed(kind, name, place);
  }

  onGivenUp(kind: Hanging, name: string, session: bigint, request: string, revision: number): void {
    this.queues.waits.onGivenUp(kind, name, session, request, revision);
  }

  onElection(name: string): void {
    this.elections.onElection(name);
  }

  /** A snapshot came in place of what was applied. */
  onReplaced(): void {
    this.queues.waits.onReplaced();
    this.elections.onReplaced();
  }

  /** When the signal aborts, calls that wait end with its reason, and those that come do as well. */
  endWaitsAt(stopping: AbortSignal): void {
    const end = () => this.endWaits(stopping.reason as HoldfastError);
    if (stopping.aborted) end();
    else stopping.addEventListener('abort', end, { once: true });
  }

  /** Calls that wait end with this error; those that come do as well. */
  endWaits(error: HoldfastError): void {
    this.queues.waits.stop(error);
    this.elections.onReplaced(); // those who follow look whether the node stops
  }

  /** Nothing is counted any more. */
  stop(): void {
    this.leases.stop();
  }
}
