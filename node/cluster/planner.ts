/**
 * Carries changes of members through, and keeps replicas balanced, while this node leads group
 * 0. Knows nothing of earlier tasks: see `nextTask`.
 */
import type { Clock } from '@holdfast/client/clock';
import type { GroupHost } from '../raft/group-host.ts';
import { appliedConfiguration, type GroupReplica } from '../raft/group-replica.ts';
import { COORDINATION_GROUP } from '../raft/members.ts';
import { MEMBER_TABLE, type ClusterMembers } from './cluster-members.ts';
import type { ClusterTree } from './cluster-tree.ts';
import { placementChanges, type GroupPlacements } from './group-placements.ts';
import { encodeTable } from './member-codec.ts';
import { tableWithReturned, type LostDataOptions } from './lost-data.ts';
import type { MemberTable } from './membership.ts';
import { nextTask, type ClusterTask } from './next-task.ts';
import { heldGroups, type FirstPlacement } from './placed-groups.ts';
import { Rounds } from './rounds.ts';

/** Between two looks. */
const EVERY_MS = 250;
/** A member that was not heard of for so long is given no more replicas. */
const AWAY_MS = 5_000;

export interface PlannerOptions extends LostDataOptions {
  readonly host: GroupHost;
  readonly tree: ClusterTree;
  readonly members: ClusterMembers;
  readonly placements: GroupPlacements;
  /** Every group but group 0, as it was created. */
  readonly groups: () => readonly FirstPlacement[];
  readonly clock: Clock;
}

export class Planner {
  readonly #options: PlannerOptions;
  readonly #rounds: Rounds;
  /** Since when this node leads group 0; undefined: it does not. */
  #ledSinceMs: number | undefined;
  /** When each member was last heard of. */
  readonly #heardMs = new Map<number, number>();

  constructor(options: PlannerOptions) {
    this.#options = options;
    this.#rounds = new Rounds(
      options.clock,
      () => EVERY_MS,
      () => this.#look(),
    );
  }

  stop(): void {
    this.#rounds.stop();
  }

  async #look(): Promise<void> {
    const { host, members, placements, groups } = this.#options;
    const replica = host.replica(COORDINATION_GROUP);
    if (replica?.isLeader !== true || host.failure !== undefined) {
      this.#ledSinceMs = undefined;
      return;
    }
    const nowMs = this.#options.clock.monotonicMs();
    this.#ledSinceMs ??= nowMs;
    const { written } = members;
    const configuration = appliedConfiguration(replica.applied) ?? replica.core.configuration;
    if (written === undefined) return;
    this.#noteAlive(replica);
    const held = heldGroups(groups(), placements);
    const task = nextTask(written.table, configuration, held, (id) => this.#isAlive(id));
    if (task !== undefined) return this.#carryOut(task, written.modRevision);
    const isAway = (id: number) => nowMs - this.#ledSinceMs! > AWAY_MS && !this.#isAlive(id);
    const table = await tableWithReturned(written.table, isAway, this.#options);
    if (table !== undefined) await this.#carryOut({ table, targets: new Map() }, written.modRevision);
  }

  /** All members are in group 0, whose followers are heard of again and again. */
  #noteAlive({ core }: GroupReplica): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const [id, { isActive }] of core.status.followers) if (isActive) this.#heardMs.set(id, nowMs);
  }

  #isAlive(id: number): boolean {
    const heardMs = this.#heardMs.get(id) ?? -Infinity;
    return id === this.#options.host.self || this.#options.clock.monotonicMs() - heardMs < AWAY_MS;
  }

  /** All or nothing, and only if the table and the placements are what the task was made from. */
  async #carryOut({ table, targets }: ClusterTask, modRevision: number): Promise<void> {
    const { tree, placements } = this.#options;
    const moved = [...targets].map(
      ([group, target]) => [group, { ...placements.of(group), target }] as const,
    );
    const { comparisons, changes } = placementChanges(tree, new Map(moved));
    const own = table && tableChange(table, modRevision).changes;
    const comparison = { key: MEMBER_TABLE, modRevision };
    await tree.transact(
      { comparisons: [comparison, ...comparisons], changes: [...(own ?? []), ...changes] },
      false,
    );
  }
}

/** Puts a table in the place of the one that was last changed at a revision; 0: there is none. */
export function tableChange(table: MemberTable, modRevision: number) {
  return {
    comparisons: [{ key: MEMBER_TABLE, modRevision }],
    changes: [{ key: MEMBER_TABLE, value: encodeTable(table) }],
  };
}
