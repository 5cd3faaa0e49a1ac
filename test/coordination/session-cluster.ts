/**
 * Nodes with leases, locks and elections over one log that is kept by the test: who leads,
 * and in which term, is what the test says. Followers apply later than the leader.
 */
import { HoldfastError } from '../../client/error.ts';
import { refusalError } from '../../node/coordination/refusal-error.ts';
import type { Refusal } from '../../node/coordination/refusal.ts';
import { Sessions } from '../../node/coordination/sessions.ts';
import {
  SessionCommandKind as Kind,
  readSessionCommand,
  writeSessionCommand,
  type SessionCommand,
} from '../../node/coordination/session-command.ts';
import type { SessionGroup } from '../../node/coordination/session-group.ts';
import type { SessionOutcome } from '../../node/coordination/session-outcome.ts';
import { SessionState, type SessionEvents } from '../../node/coordination/session-state.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { ByteReader, ByteWriter } from '../../node/storage/byte-codec.ts';
import { HoldMode } from '../../node/coordination/wait-queue.ts';
import { StepRows } from './step-rows.ts';

export const CHECKPOINT_MS = 10_000;
const COMMIT_MS = 3;
const LAG_MS = 4;

interface Logged {
  readonly term: number;
  readonly command: SessionCommand;
  readonly stampMs: number;
}

export class ClusterNode {
  readonly process: SimulatedProcess;
  readonly clock: SimulatedClock;
  readonly sessions: Sessions;
  readonly state: SessionState;
  readonly ended: string[] = [];
  applied = 0;
  /** Applies without telling, as by a snapshot. */
  isDeaf = false;
  revision = 1;
  readonly #rows = new StepRows();
  readonly #cluster: SessionCluster;

  constructor(cluster: SessionCluster, index: number) {
    this.#cluster = cluster;
    this.process = new SimulatedProcess(cluster.world);
    this.clock = new SimulatedClock(this.process);
    const told = (tell: (sessions: SessionEvents) => void) => {
      if (!this.isDeaf) tell(this.sessions);
    };
    this.state = new SessionState(
      this.#rows,
      'g',
      { deleteKeysOf: () => undefined },
      {
        onLeaseGranted: (lease, row) => told((to) => to.onLeaseGranted(lease, row)),
        onLeaseEnded: (lease, hasExpired) => {
          this.ended.push(`${hasExpired ? 'expired' : 'revoked'} ${lease}`);
          told((to) => to.onLeaseEnded(lease, hasExpired));
        },
        onServed: (kind, name, place) => told((to) => to.onServed(kind, name, place)),
        onGivenUp: (...given) => told((to) => to.onGivenUp(...given)),
        onElection: (name) => told((to) => to.onElection(name)),
      },
    );
    this.sessions = new Sessions({
      group: this.#group(),
      clock: this.clock,
      random: new SeededRandom(`node ${index}`),
      leaseCheckpointMs: CHECKPOINT_MS,
    });
  }

  get isLeader(): boolean {
    return this.#cluster.leader === this;
  }

  /** Applies what was committed up to `end`. */
  apply(end: number): SessionOutcome | Refusal | undefined {
    let outcome: SessionOutcome | Refusal | undefined;
    while (this.applied < end) {
      const { command, stampMs } = this.#cluster.log[this.applied++]!;
      const writer = new ByteWriter();
      writeSessionCommand(writer, command);
      outcome = this.state.apply(readSessionCommand(command.kind, new ByteReader(writer.finish())), {
        stampMs,
        revision: this.revision,
        nextRevision: () => ++this.revision,
      });
      this.#rows.step();
    }
    return outcome;
  }

  propose(command: SessionCommand): Promise<SessionOutcome> {
    return this.sessions.group.propose(command, {
      deadlineMs: this.clock.monotonicMs() + 5_000,
      isRouted: false,
      grows: false,
    });
  }

  #group(): SessionGroup {
    const cluster = this.#cluster;
    const state = () => this.state;
    const revision = () => this.revision;
    return {
      get state() {
        return state();
      },
      get revision() {
        return revision();
      },
      keysOf: () => [],
      leadingTerm: () => (cluster.believesToLead(this) ? cluster.termOf(this) : undefined),
      unledError: () => cluster.unled,
      propose: (command, { isRouted }) => cluster.propose(this, command, isRouted),
      awaitRead: () => cluster.awaitRead(this),
    };
  }
}

export class SessionCluster {
  readonly world = new SimulatedScheduler();
  readonly log: Logged[] = [];
  readonly nodes: ClusterNode[];
  readonly proposed: SessionCommand[] = [];
  leader: ClusterNode | undefined;
  term = 0;
  unled: HoldfastError | undefined;
  /** Term in which a node led last, as it believes. */
  readonly #believed = new Map<ClusterNode, number>();

  constructor(size = 3) {
    this.nodes = Array.from({ length: size }, (_, index) => new ClusterNode(this, index));
  }

  /** A node leads from now on; it has applied everything. The one before does not know yet, if it is not to be `told`. */
  async elect(index: number, isTold = true): Promise<ClusterNode> {
    const node = this.nodes[index]!;
    this.term++;
    if (isTold && this.leader !== undefined) this.#believed.delete(this.leader);
    this.leader = node;
    this.#believed.set(node, this.term);
    node.apply(this.log.length);
    await this.run(1);
    return node;
  }

  /** Nobody leads. */
  depose(): void {
    if (this.leader !== undefined) this.#believed.delete(this.leader);
    this.leader = undefined;
  }

  /** A leader of before finds out. */
  tell(node: ClusterNode): void {
    if (node !== this.leader) this.#believed.delete(node);
  }

  believesToLead(node: ClusterNode): boolean {
    return this.#believed.has(node);
  }

  termOf(node: ClusterNode): number {
    return this.#believed.get(node)!;
  }

  run(ms: number): Promise<void> {
    return this.world.runFor(ms);
  }

  settle<T>(promise: Promise<T>, withinMs = 60_000): Promise<T> {
    return this.world.settle(promise, withinMs);
  }

  propose(from: ClusterNode, command: SessionCommand, isRouted: boolean): Promise<SessionOutcome> {
    this.proposed.push(command);
    const target = isRouted ? from : this.leader;
    if (target === undefined || (isRouted && !this.believesToLead(from)))
      return Promise.reject(notLeader('NOT_APPLIED'));
    const term = this.termOf(target);
    return new Promise((resolve, reject) => {
      this.world.after(COMMIT_MS, () => {
        if (this.leader !== target || this.term !== term) return reject(notLeader('UNKNOWN'));
        this.log.push({ term, command, stampMs: Math.floor(1_760_000_000_000 + this.world.nowMs()) });
        const end = this.log.length;
        for (const node of this.nodes) if (node !== target) node.process.after(LAG_MS, () => node.apply(end));
        target.process.after(0, () => {
          const outcome = target.apply(end)!;
          if ('refused' in outcome) reject(refusalError(outcome));
          else resolve(outcome);
        });
      });
    });
  }

  awaitRead(node: ClusterNode): Promise<void> {
    return new Promise((resolve, reject) => {
      this.world.after(COMMIT_MS, () => {
        const { leader } = this;
        if (leader === undefined || (this.believesToLead(node) && node !== leader))
          return reject(notLeader('NOT_APPLIED'));
        node.process.after(1, () => {
          node.apply(leader.applied);
          resolve();
        });
      });
    });
  }

  /** Grants a lease by way of the leader. */
  async grant(lease: number, ttlMs: number): Promise<bigint> {
    const command = { kind: Kind.grant, lease: BigInt(lease), ttlMs, name: `n${lease}` };
    const outcome = await this.settle(this.leader!.propose(command));
    if (outcome.case !== 'lease') throw new Error(JSON.stringify(outcome.case));
    return outcome.lease;
  }

  /** Keeps leases alive by way of a node; the times to live that they have. */
  async keep(node: ClusterNode, ...leases: number[]): Promise<number[]> {
    const kept = await this.settle(
      node.sessions.leases.keepAlive(leases.map(BigInt), node.clock.monotonicMs() + 5_000),
    );
    return kept.map(({ ttlMs }) => ttlMs);
  }

  remaining(lease: number, node = this.leader!): Promise<number | undefined> {
    return this.settle(node.sessions.leases.remainingMs(BigInt(lease), node.clock.monotonicMs() + 5_000));
  }

  /** Takes an exclusive lock on a node, within so much time. */
  acquire(node: ClusterNode, session: number, name: string, more: AcquireMore = {}) {
    const { request = 'r', waitMs, timeoutMs = 60_000, signal = new AbortController().signal } = more;
    const ask = { name, session: BigInt(session), request, mode: HoldMode.exclusive, permits: 0 };
    const deadlineMs = node.clock.monotonicMs() + timeoutMs;
    return node.sessions.queues.acquire(ask, { waitMs, deadlineMs, isRouted: false, signal });
  }

  release(node: ClusterNode, session: number, name: string, token: number, request = 'r') {
    const given = { name, session: BigInt(session), request, token, attempt: undefined };
    return this.settle(node.propose({ kind: Kind.release, ...given }));
  }
}

export interface AcquireMore {
  readonly request?: string;
  readonly waitMs?: number;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

function notLeader(outcome: 'NOT_APPLIED' | 'UNKNOWN'): HoldfastError {
  return new HoldfastError({ reason: 'NOT_LEADER', message: 'not here', outcome });
}
