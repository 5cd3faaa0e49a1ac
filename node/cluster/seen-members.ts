/** The members as a node sees them now: its table, and what its gossip holds each for. */
import type { Clock } from '@holdfast/client/clock';
import type { ClusterMembers } from './cluster-members.ts';
import type { GossipDriver } from './gossip-driver.ts';
import type { LifeState, NodeRecord } from './gossip/node-record.ts';
import type { GroupPlacements } from './group-placements.ts';
import type { ClusterMember } from './membership.ts';
import { heldGroups, isMoving, type FirstPlacement } from './placed-groups.ts';

/** A member as it is seen. */
export interface SeenMember {
  readonly member: ClusterMember;
  /** Undefined: this node runs no gossip. */
  readonly state: LifeState | undefined;
  /** What its node has said of itself; undefined: nothing yet. */
  readonly told: NodeRecord | undefined;
  /** Groups of which it is to hold a replica. */
  readonly replicas: number;
}

/** All members, as they are seen. */
export interface SeenList {
  readonly members: readonly SeenMember[];
  readonly movingGroups: number;
}

/** Replicas are counted anew after so long; what gossip finds is told at once. */
const COUNTED_MS = 1_000;

export interface SeenMembersOptions {
  readonly clock: Clock;
  readonly self: string;
  readonly members: ClusterMembers;
  readonly placements: GroupPlacements;
  readonly groups: () => readonly FirstPlacement[];
  readonly gossip: GossipDriver | undefined;
}

export class SeenMembers {
  readonly #options: SeenMembersOptions;
  #listed: SeenList | undefined;
  #listedMs = 0;

  constructor(options: SeenMembersOptions) {
    this.#options = options;
  }

  /** Name of this node. */
  get self(): string {
    return this.#options.self;
  }

  /** From memory; asks nobody. */
  list(): SeenList {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#listed === undefined || nowMs - this.#listedMs >= COUNTED_MS) {
      this.#listed = this.#look();
      this.#listedMs = nowMs;
    }
    return this.#listed;
  }

  /** What is seen of a member. */
  see(member: ClusterMember): Omit<SeenMember, 'replicas'> {
    const { gossip } = this.#options;
    const record = gossip?.get(member.name);
    const told = record?.member === member.id && record.start > 0 ? record : undefined;
    return { member, state: gossip?.stateOf(member), told };
  }

  /** Tells that something may be other than before; returns how to stop. */
  follow(changed: () => void): () => void {
    return (
      this.#options.gossip?.follow(() => {
        this.#listed = undefined;
        changed();
      }) ?? (() => undefined)
    );
  }

  #look(): SeenList {
    const { members, placements, groups } = this.#options;
    const held = heldGroups(groups(), placements);
    return {
      members: members.current.members.map((member) => ({
        ...this.see(member),
        replicas: held.filter(({ target }) => target.includes(member.id)).length,
      })),
      movingGroups: held.filter(isMoving).length,
    };
  }
}
