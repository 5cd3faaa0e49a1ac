import { create } from '@bufbuild/protobuf';
import {
  type AssignedPartition,
  AssignedPartitionSchema,
  type Assignment,
} from '@holdfast/proto/broker/v1/group';
import { sleep } from '../clock.ts';
import { clientClosed, type ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { reasonInfo } from '../reasons.ts';
import { retryDelayMs } from '../retry.ts';
import type { Lease } from '../session/lease.ts';
import type { Leases } from '../session/leases.ts';
import { asHoldfastError } from '../unary.ts';
import { STRATEGIES } from './assignment-strategy.ts';
import type { ResolvedConsumerOptions } from './consumer-options.ts';
import { nameOf } from './fetcher.ts';
import { joinGroup, leaveGroup, syncGroup } from './group-calls.ts';
import type { TopicPartition } from './groups.ts';

/** How long a node waits for another assignment. */
const WAIT_MS = 20_000;
const CLOSING_MS = 1_000;

/** Who works on what a member is assigned. */
export interface MemberHost {
  /** Works on these from now on, and on no others; what is `revoked` is to be brought to its end and released. */
  onAssignment(assigned: readonly AssignedPartition[], revoked: readonly AssignedPartition[]): void;
  /** The membership is over: others may have everything. */
  onLost(error: HoldfastError): void;
  /** It is tried again. */
  onError(error: HoldfastError): void;
  /** It is over for good. */
  fail(error: HoldfastError): void;
}

/**
 * A membership of a group, from one lease to the next: joins, follows the assignment, says what was
 * released, and joins again when it was taken for dead.
 *
 * Invariants:
 *  M1. What hangs on a lease is given up as soon as the lease is not to be relied upon: by the
 *      clock of this machine before the cluster can have ended it.
 *  M2. A partition is told as released only after its host has said so, with its generation.
 */
export class GroupMember {
  readonly #core: ClientCore;
  readonly #leases: Leases;
  readonly #options: ResolvedConsumerOptions & { readonly group: string };
  readonly #host: MemberHost;
  readonly #ended = new AbortController();
  #poke = new AbortController();
  #lease: Lease | undefined;
  #memberId = '';
  #version = 0n;
  #released = new Map<string, AssignedPartition>();
  #failures = 0;

  constructor(
    core: ClientCore,
    leases: Leases,
    options: ResolvedConsumerOptions & { readonly group: string },
    host: MemberHost,
  ) {
    this.#core = core;
    this.#leases = leases;
    this.#options = options;
    this.#host = host;
  }

  start(): void {
    void this.#run();
  }

  /** A revoked partition is not worked on any more. Invariant M2. */
  release(partition: TopicPartition & { readonly generation: bigint }): void {
    const { topic, partition: number, generation } = partition;
    const message = create(AssignedPartitionSchema, { topic, partition: number, generation });
    this.#released.set(nameOf(message), message);
    this.#wake();
  }

  /** Follows the assignment no more. */
  stop(): void {
    this.#ended.abort();
    this.#wake();
  }

  /** Gives everything to others at once, unless a static member is to come back. */
  async leave(): Promise<void> {
    this.stop();
    const lease = this.#lease;
    if (lease === undefined) return;
    if (!this.#options.leaveOnClose) {
      lease.end(clientClosed());
      return;
    }
    // What does not get through ends with the lease.
    if (this.#memberId !== '')
      await leaveGroup(this.#core, this.#options.group, this.#memberId).catch(() => undefined);
    await lease.revokeBy({ timeout: CLOSING_MS }, { isClosing: true }).catch(() => undefined);
  }

  async #run(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      try {
        const lease = await this.#live();
        await this.#join(lease);
        for (;;) await this.#follow(lease);
      } catch (cause) {
        await this.#failed(asHoldfastError(cause));
      }
    }
  }

  async #live(): Promise<Lease> {
    if (this.#lease?.isAlive === true) return this.#lease;
    const { sessionTimeoutMs, clientName, group } = this.#options;
    const name = clientName === '' ? `group ${group}` : clientName;
    const lease = await this.#leases.grant({ ttl: sessionTimeoutMs, name: name.slice(0, 64) });
    if (this.#ended.signal.aborted) {
      await lease.revokeBy({ timeout: CLOSING_MS }, { isClosing: true });
      throw clientClosed();
    }
    // Invariant M1.
    lease.signal.addEventListener('abort', () => this.#wake(), { once: true });
    this.#lease = lease;
    return lease;
  }

  async #join(lease: Lease): Promise<void> {
    const { group, topics, strategy, instanceId, rebalanceTimeoutMs, clientName } = this.#options;
    const { memberId, assignment } = await joinGroup(this.#core, {
      group,
      lease: lease.id,
      topics: [...topics],
      strategy: STRATEGIES.find(([name]) => name === strategy)![1],
      instanceId,
      rebalanceTimeoutMs: BigInt(rebalanceTimeoutMs),
      clientName,
    });
    this.#memberId = memberId;
    this.#failures = 0;
    this.#released.clear();
    if (lease.isAlive && !this.#ended.signal.aborted) this.#apply(assignment);
  }

  /** One assignment, or the news that there is none. */
  async #follow(lease: Lease): Promise<void> {
    if (this.#ended.signal.aborted) throw clientClosed();
    if (!lease.isAlive) throw lease.signal.reason ?? leaseOver(lease.id);
    this.#poke = new AbortController();
    const request = {
      group: this.#options.group,
      memberId: this.#memberId,
      knownVersion: this.#version,
      released: [...this.#released.values()],
      waitMs: WAIT_MS,
    };
    try {
      const assignment = await syncGroup(this.#core, request, this.#poke.signal);
      this.#failures = 0;
      if (lease.isAlive && !this.#ended.signal.aborted) this.#apply(assignment);
    } catch (cause) {
      // Somebody has something to say: it is said with the next call.
      if (!this.#poke.signal.aborted && asHoldfastError(cause).reason !== 'DEADLINE_EXCEEDED') throw cause;
    }
  }

  #apply(assignment: Assignment): void {
    this.#version = assignment.version;
    const revoked = new Set(assignment.revoked.map(nameOf));
    for (const name of this.#released.keys()) if (!revoked.has(name)) this.#released.delete(name);
    const open = assignment.revoked.filter(
      (one) => this.#released.get(nameOf(one))?.generation !== one.generation,
    );
    this.#host.onAssignment(assignment.partitions, open);
  }

  #wake(): void {
    this.#poke.abort();
  }

  async #failed(error: HoldfastError): Promise<void> {
    if (this.#ended.signal.aborted) return;
    if (error.reason === 'SESSION_EXPIRED') this.#lease?.end(error);
    const isOver = OVER.has(error.reason);
    // Space comes back in minutes, and a member lives for longer.
    const mayPass = isOver || error.reason === 'DEADLINE_EXCEEDED' || error.reason === 'DISK_LOW';
    if (!mayPass && (reasonInfo(error.reason)?.retry ?? 'never') === 'never') {
      this.stop();
      this.#host.fail(error);
      return;
    }
    if (isOver || this.#lease?.isAlive !== true) {
      this.#version = 0n;
      this.#memberId = '';
      this.#host.onLost(error);
    }
    this.#failures += 1;
    this.#host.onError(error);
    const delayMs = retryDelayMs(error, this.#failures, this.#core.random);
    await sleep(this.#core.clock, delayMs, this.#ended.signal).catch(() => undefined);
  }
}

/** By the clock it has ended, and nobody has been told yet: the process stood still. */
function leaseOver(id: bigint): HoldfastError {
  const message = `the time of lease ${id} is over, and with it the membership`;
  return new HoldfastError({ reason: 'LEASE_LOST', message });
}

/** The member was taken out; it may join again. */
const OVER = new Set<string>([
  'GROUP_MEMBER_UNKNOWN',
  'SESSION_EXPIRED',
  'LEASE_LOST',
  'LEASE_UNKNOWN',
  // Somebody has revoked the lease.
  'CANCELLED',
]);
