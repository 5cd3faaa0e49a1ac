/**
 * Who leads how many of the groups, and the handing over of what is led here: one by one to
 * spread leaders, all at once before this node stops.
 */
import { sleep, type Clock, type Timer } from '@holdfast/client/clock';
import type { ClockGuard } from './clock-guard.ts';
import type { RoleChange } from './core/ready.ts';
import type { GroupReplica } from './group-replica.ts';
import { LEAVING } from './peer-courier.ts';
import type { UnledGroup } from './state-machine.ts';

/** Longest that a node which is to stop waits for others to take over what it leads. */
const HAND_OVER_MS = 3_000;
const HAND_OVER_LOOK_MS = 10;
/** A group without a leader for so long has lost its majority: elections are over much sooner. */
const UNLED_MS = 5_000;
/** Who has said nothing for so long is not there. */
const SILENT_MS = 2_000;
/** For so long nobody may seem fit to: leaders forget whom they have heard once in an election timeout. */
const SUCCESSOR_MS = 700;

export interface LeadershipsOptions {
  readonly self: number;
  readonly clock: Clock;
  readonly replicas: ReadonlyMap<number, GroupReplica>;
  readonly nameOf: (member: number) => string;
  readonly clockGuard: ClockGuard;
  /** A core has been given something to do. */
  readonly wake: (replica: GroupReplica) => void;
}

export class Leaderships {
  readonly #options: LeadershipsOptions;
  /** How many groups each peer leads by its last message, or LEAVING. */
  readonly #byPeer = new Map<number, number>();
  /** New groups that this node is to lead: they need not wait for an election timeout. */
  readonly #toLead = new Set<GroupReplica>();
  /** When each peer was last heard. */
  readonly #heardMs = new Map<number, number>();
  /** Since when a replica knows no leader. */
  readonly #unledSinceMs = new WeakMap<GroupReplica, number>();
  #led = 0;
  #isLeaving = false;
  #isStopping = false;
  #rest: Timer | undefined;
  #won = 0;
  #elections = 0;

  constructor(options: LeadershipsOptions) {
    this.#options = options;
  }

  /** Times that a replica here began to lead. */
  get won(): number {
    return this.#won;
  }

  /** Times that a replica here stood for election. */
  get elections(): number {
    return this.#elections;
  }

  /** This node is about to stop, or was told to rest, and takes no leadership. */
  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  /** What peers are told: how many groups are led here, or LEAVING. */
  get told(): number {
    return this.#isLeaving ? LEAVING : this.#led;
  }

  /** A peer has told how many it leads. */
  heard(peer: number, led: number): void {
    this.#byPeer.set(peer, led);
    this.#heardMs.set(peer, this.#options.clock.monotonicMs());
  }

  /** Groups that a member leads, as far as is known. */
  ledBy(member: number): number {
    return member === this.#options.self ? this.#led : (this.#byPeer.get(member) ?? 0);
  }

  /** A replica is not what it was; undefined: it is gone. */
  noteChange(change: RoleChange | undefined): void {
    this.#led = 0;
    for (const { isLeader } of this.#options.replicas.values()) if (isLeader) this.#led++;
    if (change?.role === 'leader') this.#won++;
    if (change?.role === 'candidate') this.#elections++;
  }

  /** A new group is to be led here from the next tick on. */
  leadSoon(replica: GroupReplica): void {
    this.#toLead.add(replica);
  }

  /** Why nobody leads a group of which a replica is here; undefined: somebody does, or an election is under way. */
  unled(group: number): UnledGroup | undefined {
    const replica = this.#options.replicas.get(group);
    const sinceMs = replica && this.#unledSinceMs.get(replica);
    if (replica === undefined || sinceMs === undefined || replica.core.leader !== 0) return undefined;
    if (replica.isResting) return undefined; // one that was taken out of its group does not know
    const { self, clock, nameOf } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs - sinceMs < UNLED_MS) return undefined;
    const { voters } = replica.core.configuration;
    if (!voters.includes(self)) return undefined; // who does not vote is no witness
    const isHeard = (voter: number) =>
      voter === self || nowMs - (this.#heardMs.get(voter) ?? -Infinity) < SILENT_MS;
    return {
      forMs: nowMs - sinceMs,
      needed: Math.floor(voters.length / 2) + 1,
      heard: voters.filter(isHeard).map(nameOf),
      silent: voters.filter((voter) => !isHeard(voter)).map(nameOf),
    };
  }

  /** To be called at each tick of a replica. */
  tick(replica: GroupReplica): void {
    if (replica.core.leader !== 0) this.#unledSinceMs.delete(replica);
    else if (!this.#unledSinceMs.has(replica))
      this.#unledSinceMs.set(replica, this.#options.clock.monotonicMs());
    if (this.#toLead.delete(replica) && replica.core.leader === 0) replica.core.campaign();
    if (this.#rest !== undefined) this.#handOn(replica); // an election may have been won all the same
  }

  /** How many entries each peer lacks of a group that is led here, at most; of peers that do not answer, too. */
  followerLags(): ReadonlyMap<number, number> {
    const lags = new Map<number, number>();
    for (const { isLeader, core } of this.#options.replicas.values()) {
      if (!isLeader) continue;
      const { followers, lastIndex } = core.status;
      for (const [id, { match }] of followers) lags.set(id, Math.max(lags.get(id) ?? 0, lastIndex - match));
    }
    return lags;
  }

  /**
   * Whether a voter of a group that is led here could lead it at once: it answers, stays, its
   * clock is right, and it lacks at most `entries`.
   */
  mayTakeOver(group: number, voter: number, entries: number): boolean {
    const replica = this.#options.replicas.get(group);
    if (replica === undefined || this.#byPeer.get(voter) === LEAVING) return false;
    if (!this.#options.clockGuard.isFit(voter)) return false;
    const { followers, lastIndex, transferee, configuration } = replica.core.status;
    const progress = followers.get(voter);
    if (transferee !== 0 || progress?.isActive !== true || !configuration.voters.includes(voter))
      return false;
    return progress.state === 'replicate' && lastIndex - progress.match <= entries;
  }

  /**
   * Hands over whatever is led here, and takes no leadership any more. Resolves when nothing
   * is led, or nobody can take it, at the latest after `HAND_OVER_MS`.
   */
  async handOverAll(hasEnded: () => boolean): Promise<void> {
    this.#isStopping = true;
    await this.#handOverUntilDone(hasEnded);
  }

  async #handOverUntilDone(hasEnded: () => boolean): Promise<void> {
    this.#isLeaving = true;
    const { clock } = this.#options;
    const startedMs = clock.monotonicMs();
    while (!hasEnded()) {
      const { led, moving } = this.#handOver();
      const passedMs = clock.monotonicMs() - startedMs;
      if (led === 0 || passedMs > (moving > 0 ? HAND_OVER_MS : SUCCESSOR_MS)) return;
      await sleep(clock, HAND_OVER_LOOK_MS);
    }
  }

  /** Hands over whatever is led here, and takes no leadership for a while. Resolves as `handOverAll`. */
  async rest(forMs: number, hasEnded: () => boolean): Promise<void> {
    this.#rest?.cancel();
    this.#rest = this.#options.clock.setTimer(forMs, () => {
      this.#rest = undefined;
      if (!this.#isStopping) this.#isLeaving = false;
    });
    await this.#handOverUntilDone(hasEnded);
  }

  /** No timer of this is left. */
  stop(): void {
    this.#rest?.cancel();
  }

  /** Begins what handovers it can; returns how many groups are led here, and how many of them are being handed over. */
  #handOver(): { led: number; moving: number } {
    let led = 0;
    let moving = 0;
    for (const replica of this.#options.replicas.values()) {
      const { core } = replica;
      if (!core.isLeader || replica.isAlone) continue;
      led++;
      this.#handOn(replica);
      if (core.status.transferee !== 0) moving++;
    }
    return { led, moving };
  }

  /** Hands a group to whoever is best placed, if it is led here and somebody can take it. */
  #handOn(replica: GroupReplica): void {
    const { core, group } = replica;
    if (!core.isLeader || replica.isAlone) return;
    const { followers } = core.status;
    const fit = [...followers.keys()].filter((voter) => this.mayTakeOver(group, voter, Infinity));
    const best = fit.sort((a, b) => followers.get(b)!.match - followers.get(a)!.match)[0];
    if (best !== undefined) core.transferLeader(best);
    this.#options.wake(replica);
  }
}
