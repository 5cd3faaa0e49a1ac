/**
 * Whom a node asks about a group: what its own replica knows, where it has one; else what
 * others answered; else each in turn, those first that the group began with. Membership may
 * have changed since, and any node that has a replica, or had one, can name a leader.
 *
 *  1. What was learned of a leader is forgotten as soon as it denies it or cannot be reached.
 *  2. A node that could not be reached is not asked for `AVOID_MS`, whoever names it.
 *  3. Who does not seem alive is asked after the others, unless the replica here follows it as
 *     its leader: that one was heard just now.
 */
import type { Clock } from '@holdfast/client/clock';
import type { GroupHost } from '../raft/group-host.ts';
import type { Member } from '../raft/members.ts';
import type { NotLed } from '../raft/state-machine.ts';
import type { LifeState } from './gossip/node-record.ts';

const AVOID_MS = 2_000;

/** A group, as far as one needs to know it to find its replicas. */
export interface GroupPlace {
  readonly group: number;
  /** Who held it at its beginning. */
  readonly replicas: readonly number[];
  /** It was dropped. */
  readonly isGone: boolean;
}

/** Whom to ask, and whether they are known to lead. */
export interface Target {
  readonly member: Member;
  readonly isLeader: boolean;
}

export class GroupRoutes {
  readonly #host: GroupHost;
  readonly #clock: Clock;
  /** By group: who leads it, as somebody else said, and whom the replica here took for it then. */
  readonly #leaders = new Map<number, { readonly leader: Member; readonly own: number | undefined }>();
  /** By node: until when it is not asked. */
  readonly #avoidedUntilMs = new Map<number, number>();
  /** By group: whose turn it is to be asked. */
  readonly #turns = new Map<number, number>();
  readonly #stateOf: ((member: Member) => LifeState | undefined) | undefined;

  /** `stateOf`: what a node is held for; undefined: nobody says. */
  constructor(host: GroupHost, clock: Clock, stateOf?: (member: Member) => LifeState | undefined) {
    this.#host = host;
    this.#clock = clock;
    this.#stateOf = stateOf;
  }

  /** Whom to ask next among the other nodes, but for those `asked`; undefined: nobody, for now. */
  next(place: GroupPlace, asked?: ReadonlySet<number>): Target | undefined {
    const { group } = place;
    const mayAsk = (member: Member) => this.#mayAsk(member) && asked?.has(member.id) !== true;
    if (this.#stateOf === undefined) return this.#choose(place, mayAsk);
    const own = this.#host.leaderOf(group)?.id;
    const isLikely = (member: Member) => mayAsk(member) && (member.id === own || !this.#isDoubted(member));
    return this.#choose(place, isLikely) ?? this.#choose(place, mayAsk);
  }

  #choose(place: GroupPlace, mayAsk: (member: Member) => boolean): Target | undefined {
    for (const known of this.#known(place.group))
      if (known !== undefined && mayAsk(known)) return { member: known, isLeader: true };
    const member = this.#someone(place, mayAsk);
    return member && { member, isLeader: false };
  }

  /** Invariant 3. */
  #isDoubted(member: Member): boolean {
    const state = this.#stateOf?.(member);
    return state !== undefined && state !== 'alive';
  }

  /** Whom a client that routes itself is sent to, because this node has no replica. */
  hint(place: GroupPlace): Member | undefined {
    const isOther = (other: Member) => other.id !== this.#host.self;
    if (this.#stateOf === undefined) return this.#someone(place, isOther);
    const isLikely = (other: Member) => isOther(other) && !this.#isDoubted(other);
    return this.#someone(place, isLikely) ?? this.#someone(place, isOther);
  }

  /** What the replica here knows of who leads a group that is not led here. */
  notLed({ group }: GroupPlace): NotLed {
    return this.#host.notLed(group);
  }

  /** It leads the group. Returns whether that is news. */
  leads({ group }: GroupPlace, member: Member): boolean {
    const isNews = this.#known(group)[0]?.id !== member.id;
    if (isNews) this.#note(group, member);
    return isNews;
  }

  /** It does not lead the group, and names who does. True: that one can be asked at once. Invariant 1. */
  refused({ group }: GroupPlace, leader: string | undefined): boolean {
    this.#leaders.delete(group);
    const member = this.#host.members.find(({ address }) => address === leader);
    if (member === undefined || !this.#mayAsk(member)) return false;
    this.#note(group, member);
    return true;
  }

  /** It could not be reached. Invariants 1, 2. */
  failed(member: Member): void {
    this.#avoidedUntilMs.set(member.id, this.#clock.monotonicMs() + AVOID_MS);
    for (const [group, { leader }] of this.#leaders) if (leader.id === member.id) this.#leaders.delete(group);
  }

  /** Who may lead: what was heard counts until the replica here says something else than it did then. */
  #known(group: number): (Member | undefined)[] {
    const own = this.#host.leaderOf(group);
    const heard = this.#leaders.get(group);
    return heard?.own === own?.id ? [heard?.leader, own] : [own, heard?.leader];
  }

  #note(group: number, leader: Member): void {
    this.#leaders.set(group, { leader, own: this.#host.leaderOf(group)?.id });
  }

  #mayAsk({ id }: Member): boolean {
    return id !== this.#host.self && (this.#avoidedUntilMs.get(id) ?? 0) <= this.#clock.monotonicMs();
  }

  /** It answers again: there is no reason to wait before it is asked. */
  returned(member: Pick<Member, 'id'>): void {
    this.#avoidedUntilMs.delete(member.id);
  }

  #someone({ group, replicas }: GroupPlace, fits: (member: Member) => boolean): Member | undefined {
    const { members } = this.#host;
    const first = replicas.flatMap((id) => members.filter((member) => member.id === id));
    const all = [...first, ...members.filter(({ id }) => !replicas.includes(id))];
    const fitting = all.filter(fits);
    const turn = this.#turns.get(group) ?? 0;
    this.#turns.set(group, turn + 1);
    return fitting[turn % fitting.length];
  }
}
