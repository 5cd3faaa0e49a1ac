/**
 * A caller that takes locks with the client library, holds them for a while, and writes to
 * what they protect: keys that check tokens. Some hold by a lease that nobody keeps alive, some
 * forget to release, some take again what they hold.
 */
import { sleep } from '../../../client/clock.ts';
import { between } from '../../../client/random.ts';
import type { HeldLock } from '../../../client/session/held-lock.ts';
import type { Lease } from '../../../client/session/lease.ts';
import type { AcquireOptions } from '../../../client/session/lock-options.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import type { LeaseChecker } from '../checkers/lease-checker.ts';
import type { Believer, LockChecker } from '../checkers/lock-checker.ts';
import { LOCKS, modeOf, someTtlMs, type LockPlan } from './lock-plan.ts';
import type { WorkRecorder } from './work-recorder.ts';
import type { WorldClient } from './world-client.ts';
import { logUniform, pick } from './world-settings.ts';

/** What callers share. */
export interface LockWork {
  readonly locks: LockChecker;
  readonly leases: LeaseChecker;
  readonly recorder: WorkRecorder;
  readonly nowMs: () => number;
  /** Keyspace of what the locks protect. */
  readonly keyspace: string;
}

interface OwnSession {
  readonly lease: Lease;
  /** By the library. */
  readonly isKept: boolean;
}

/** Longest wait for a lock that has one. */
const MOST_WAIT_MS = 3_000;
const MOST_HOLD_MS = 2_500;
/** Between two attempts to take a lock in the end: a disk that was full is looked at again. */
const AGAIN_MS = 100;

export class LockCaller {
  readonly name: string;
  readonly #client: WorldClient;
  readonly #work: LockWork;
  readonly #random: SeededRandom;
  readonly #believes = new Set<Believer>();
  readonly #leases = new Set<bigint>();

  constructor(name: string, client: WorldClient, work: LockWork, random: SeededRandom) {
    this.name = name;
    this.#client = client;
    this.#work = work;
    this.#random = random;
  }

  /** Works until `isOver`. */
  async run(thinkMs: number, isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await sleep(this.#client.clock, -Math.log(1 - this.#random.float()) * thinkMs);
      if (!isOver()) await this.#take(pick(this.#random, ...LOCKS));
    }
  }

  /** The process was killed: it believes nothing any more. */
  die(): void {
    for (const believer of this.#believes) this.#work.locks.over(believer);
    for (const lease of this.#leases) this.#work.leases.over(lease);
  }

  /** Takes a lock, however often that fails. */
  async probe(plan: LockPlan): Promise<void> {
    for (;;) {
      try {
        const held = await this.#client.holdfast.lock.acquire(plan.name, { permits: plan.permits });
        const believer = this.#believe(plan.name, held);
        this.#forget(believer);
        return await held.release();
      } catch (error) {
        this.#work.recorder.failed(this.name, 'lock', plan.name, error);
        await sleep(this.#client.clock, AGAIN_MS);
      }
    }
  }

  async #take(plan: LockPlan): Promise<void> {
    const { recorder } = this.#work;
    const session = this.#random.chance(0.3) ? await this.#session() : undefined;
    const options: AcquireOptions = {
      ...modeOf(plan, this.#random),
      ...(session === undefined ? { ttl: someTtlMs(this.#random) } : { session: session.lease }),
    };
    try {
      const held = await this.#ask(plan.name, options);
      if (held !== undefined) await this.#hold(plan.name, held, options, session);
    } catch (error) {
      const { reason } = recorder.failed(this.name, 'lock', plan.name, error);
      if (reason === 'LOCK_HELD')
        throw new CheckFailure('reasons', `${this.name} waited for ${plan.name} and was told LOCK_HELD`);
    }
    if (session !== undefined) await this.#letGo(session);
  }

  async #ask(name: string, options: AcquireOptions): Promise<HeldLock | undefined> {
    const { lock } = this.#client.holdfast;
    const { recorder } = this.#work;
    if (this.#random.chance(0.25)) {
      const held = await lock.tryAcquire(name, options);
      recorder.did(this.name, held === undefined ? 'lock refused' : 'lock tried', name);
      return held;
    }
    const wait = this.#random.chance(0.7)
      ? Math.round(logUniform(this.#random, 50, MOST_WAIT_MS))
      : undefined;
    recorder.did(this.name, 'lock asked', `${name} ${wait ?? ''}`);
    const held = await lock.acquire(name, { ...options, wait });
    recorder.did(this.name, 'lock held', `${name} token ${held.token}`);
    return held;
  }

  async #hold(
    name: string,
    held: HeldLock,
    options: AcquireOptions,
    session: OwnSession | undefined,
  ): Promise<void> {
    const believer = this.#believe(name, held);
    const endMs = this.#client.clock.monotonicMs() + logUniform(this.#random, 5, MOST_HOLD_MS);
    for (let writes = between(this.#random, 0, 3); writes > 0; writes--) {
      await this.#write(name, held);
      await sleep(this.#client.clock, (this.#random.float() * MOST_HOLD_MS) / 20);
    }
    if (session !== undefined && this.#random.chance(0.3)) await this.#takeAgain(name, options);
    await sleep(this.#client.clock, Math.max(0, endMs - this.#client.clock.monotonicMs()));
    if (held.signal.aborted) this.#work.recorder.did(this.name, 'lock lost', `${name} token ${held.token}`);
    // Of its own lease it may forget the lock: it is free when the lease ends.
    if (session !== undefined && this.#random.chance(0.4)) return;
    this.#forget(believer);
    await held.release();
  }

  /** Who does not look at the signal: only the resource keeps it from harm. */
  async #write(name: string, held: HeldLock): Promise<void> {
    const { recorder, locks, keyspace } = this.#work;
    const resource = `resource-${name}`;
    try {
      const { version } = await this.#client
        .keyspace(keyspace)
        .put(resource, `${held.token}`, { fence: held });
      locks.onWritten(resource, version, held.token, this.name);
      recorder.did(this.name, 'resource written', `${resource} version ${version} token ${held.token}`);
    } catch (error) {
      recorder.failed(this.name, 'resource', resource, error);
    }
  }

  async #takeAgain(name: string, options: AcquireOptions): Promise<void> {
    const again = await this.#client.holdfast.lock.tryAcquire(name, options);
    if (again === undefined) return;
    this.#work.recorder.did(this.name, 'lock taken again', `${name} token ${again.token}`);
    await again.release();
  }

  async #session(): Promise<OwnSession | undefined> {
    const { recorder, leases, nowMs } = this.#work;
    const isKept = this.#random.chance(0.5);
    const sentAtMs = nowMs();
    try {
      const lease = await this.#client.holdfast.leases.grant({
        ttl: someTtlMs(this.#random),
        keepAlive: isKept,
      });
      recorder.did(this.name, isKept ? 'lease granted' : 'lease not kept', `${lease.id} ${lease.ttlMs} ms`);
      this.#leases.add(lease.id);
      leases.holds({
        who: this.name,
        lease: lease.id,
        ttlMs: lease.ttlMs,
        keptAtMs: sentAtMs,
        isAlive: () => lease.isAlive,
        hasSignalled: () => lease.signal.aborted,
        isAwake: () => this.#client.isAwake,
      });
      return { lease, isKept };
    } catch (error) {
      recorder.failed(this.name, 'lease', 'grant', error);
      return undefined;
    }
  }

  /** Revokes a session, or leaves one that nobody keeps alive to its end. */
  async #letGo({ lease, isKept }: OwnSession): Promise<void> {
    const { recorder, leases } = this.#work;
    if (!isKept && this.#random.chance(0.5)) {
      if (!lease.signal.aborted && this.#random.chance(0.5)) await this.#keepOnce(lease);
      return;
    }
    leases.over(lease.id);
    this.#leases.delete(lease.id);
    try {
      await lease.revoke();
      recorder.did(this.name, 'lease revoked', String(lease.id));
    } catch (error) {
      recorder.failed(this.name, 'lease', 'revoke', error);
    }
  }

  async #keepOnce(lease: Lease): Promise<void> {
    const { recorder, leases, nowMs } = this.#work;
    const sentAtMs = nowMs();
    try {
      await lease.keepAliveOnce();
      leases.kept(lease.id, sentAtMs);
      recorder.did(this.name, 'lease kept', String(lease.id));
    } catch (error) {
      recorder.failed(this.name, 'lease', 'keep', error);
    }
  }

  #believe(name: string, held: HeldLock): Believer {
    const believer: Believer = {
      who: this.name,
      kind: 'locks',
      name,
      token: Number(held.token),
      isHeld: () => held.isHeld,
      hasSignalled: () => held.signal.aborted,
      isAwake: () => this.#client.isAwake,
    };
    this.#work.locks.believes(believer);
    this.#believes.add(believer);
    return believer;
  }

  #forget(believer: Believer): void {
    this.#work.locks.over(believer);
    this.#believes.delete(believer);
  }
}
