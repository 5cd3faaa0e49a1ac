/**
 * A candidate: campaigns, leads for a while, says something else, and resigns, or leaves it to the
 * end of a lease that nobody keeps alive. And one who observes all elections.
 */
import { sleep } from '../../../client/clock.ts';
import { HoldfastError } from '../../../client/error.ts';
import type { Leader } from '../../../client/session/election.ts';
import type { Leadership } from '../../../client/session/leadership.ts';
import type { Lease } from '../../../client/session/lease.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import type { ElectionChecker } from '../checkers/election-checker.ts';
import type { Believer } from '../checkers/lock-checker.ts';
import type { LockWork } from './lock-caller.ts';
import { someTtlMs } from './lock-plan.ts';
import type { WorldClient } from './world-client.ts';
import { logUniform, pick } from './world-settings.ts';

export const ELECTIONS: readonly string[] = ['one', 'two'];

const MOST_WAIT_MS = 3_000;
const MOST_LEAD_MS = 2_500;

export interface ElectionWork extends LockWork {
  readonly elections: ElectionChecker;
}

export class ElectionCaller {
  readonly name: string;
  readonly #client: WorldClient;
  readonly #work: ElectionWork;
  readonly #random: SeededRandom;
  readonly #believes = new Set<Believer>();
  #said = 0;

  constructor(name: string, client: WorldClient, work: ElectionWork, random: SeededRandom) {
    this.name = name;
    this.#client = client;
    this.#work = work;
    this.#random = random;
  }

  /** Works until `isOver`. */
  async run(thinkMs: number, isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await sleep(this.#client.clock, -Math.log(1 - this.#random.float()) * thinkMs);
      if (!isOver()) await this.#stand(pick(this.#random, ...ELECTIONS));
    }
  }

  /** The process was killed: it believes nothing any more. */
  die(): void {
    const { locks, elections } = this.#work;
    for (const believer of this.#believes) locks.over(believer);
    for (const election of ELECTIONS) elections.gone(this.name, election);
  }

  /** Tells the checker of every leader, until `signal` fires. */
  async observe(election: string, signal: AbortSignal): Promise<void> {
    const { elections, recorder } = this.#work;
    try {
      for await (const leader of this.#client.holdfast.election(election).observe({ signal })) {
        elections.observed(this.name, election, leader && seen(leader));
        recorder.did(this.name, 'leader observed', `${election} ${leader?.token ?? 'nobody'}`);
      }
    } catch (error) {
      if (!signal.aborted || !(error instanceof HoldfastError)) throw error;
    }
  }

  async #stand(election: string): Promise<void> {
    const { recorder } = this.#work;
    const wait = this.#random.chance(0.7)
      ? Math.round(logUniform(this.#random, 50, MOST_WAIT_MS))
      : undefined;
    const ttl = someTtlMs(this.#random);
    let session: Lease | undefined;
    try {
      if (this.#random.chance(0.3))
        session = await this.#client.holdfast.leases.grant({ ttl, keepAlive: false });
      const leadership = await this.#client.holdfast
        .election(election)
        .campaign(this.#value(), { wait, ttl, session });
      recorder.did(this.name, 'election won', `${election} token ${leadership.token}`);
      await this.#lead(election, leadership, session !== undefined);
    } catch (error) {
      recorder.failed(this.name, 'election', election, error);
    }
  }

  async #lead(election: string, leadership: Leadership, isForgotten: boolean): Promise<void> {
    const { locks, recorder } = this.#work;
    const believer: Believer = {
      who: this.name,
      kind: 'elections',
      name: election,
      token: Number(leadership.token),
      isHeld: () => leadership.isLeader,
      hasSignalled: () => leadership.signal.aborted,
      isAwake: () => this.#client.isAwake,
    };
    locks.believes(believer);
    this.#believes.add(believer);
    const endMs = this.#client.clock.monotonicMs() + logUniform(this.#random, 5, MOST_LEAD_MS);
    try {
      if (this.#random.chance(0.5)) {
        const revision = await leadership.proclaim(this.#value());
        recorder.did(this.name, 'election proclaimed', `${election} at ${revision}`);
      }
      await sleep(this.#client.clock, Math.max(0, endMs - this.#client.clock.monotonicMs()));
    } finally {
      if (leadership.signal.aborted) recorder.did(this.name, 'election lost', election);
      if (!isForgotten || this.#random.chance(0.5)) {
        locks.over(believer);
        this.#believes.delete(believer);
        await leadership.resign();
      }
    }
  }

  #value(): string {
    return `${this.name} ${++this.#said}`;
  }
}

function seen(leader: Leader) {
  const { session, token, revision } = leader;
  return { session, token, revision, value: leader.text() };
}
