/**
 * Moves the replicas of the groups that are led here to where they are to be, a step at a time,
 * and says in the coordination tree who holds them. Knows nothing of earlier steps: a new
 * leader goes on from the configuration that it finds.
 */
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import { COORDINATION_GROUP } from '../raft/members.ts';
import { appliedConfiguration, type GroupReplica } from '../raft/group-replica.ts';
import type { GroupHost } from '../raft/group-host.ts';
import type { ClusterMembers } from './cluster-members.ts';
import type { ClusterTree } from './cluster-tree.ts';
import { placementChanges, type GroupPlacement, type GroupPlacements } from './group-placements.ts';
import { isSettled, nextMove } from './next-move.ts';
import { coordinationTarget } from './next-task.ts';
import { heldGroups, targetOf, type FirstPlacement } from './placed-groups.ts';
import { Rounds } from './rounds.ts';

/** Between two looks. Less: a change is through sooner; each look costs a little for each group. */
const EVERY_MS = 200;
/** Replicas that are being filled at a time, from this node. More: sooner done, and more taken from callers meanwhile. */
const MOST_FILLING = 2;
/** Entries that a learner may lack to become a voter: a moment's worth. */
const MOST_LACKING = 2_048;
/** Groups of one report. */
const MOST_REPORTED = 64;

export interface ReplicaMoverOptions {
  readonly host: GroupHost;
  readonly tree: ClusterTree;
  readonly members: ClusterMembers;
  readonly placements: GroupPlacements;
  /** Every group but group 0, as it was created. */
  readonly groups: () => readonly FirstPlacement[];
  readonly clock: Clock;
  readonly random: Random;
}

export class ReplicaMover {
  readonly #options: ReplicaMoverOptions;
  readonly #rounds: Rounds;
  #isReporting = false;
  #filling = 0;

  constructor(options: ReplicaMoverOptions) {
    this.#options = options;
    const { clock, random } = options;
    this.#rounds = new Rounds(
      clock,
      () => EVERY_MS * (0.5 + random.float()),
      () => this.#look(),
    );
  }

  stop(): void {
    this.#rounds.stop();
  }

  #look(): void {
    const { host, groups } = this.#options;
    const led = host.replicas.filter(({ isLeader }) => isLeader);
    if (host.failure !== undefined || led.length === 0) return;
    this.#filling = led.filter(isFilling).length;
    const first = new Map(groups().map((one) => [one.group, one]));
    const reports = new Map<number, GroupPlacement>();
    for (const replica of led) {
      const known = first.get(replica.group);
      if (replica.group === COORDINATION_GROUP) this.#move(replica, this.#coordinationTarget());
      else if (known !== undefined) {
        this.#move(replica, targetOf(known, this.#options.placements));
        const report = this.#report(replica, known);
        if (report !== undefined && reports.size < MOST_REPORTED) reports.set(replica.group, report);
      }
    }
    if (reports.size > 0) void this.#send(reports);
  }

  #coordinationTarget(): readonly number[] {
    const { members, groups, placements } = this.#options;
    const written = members.written;
    return written === undefined ? [] : coordinationTarget(written.table, heldGroups(groups(), placements));
  }

  #move(replica: GroupReplica, target: readonly number[]): void {
    const { host } = this.#options;
    const { group, core } = replica;
    const { configuration, followers, lastIndex, transferee } = core.status;
    if (target.length === 0 || transferee !== 0 || isSettled({ configuration, target })) return;
    const changes = nextMove({
      configuration,
      target,
      self: host.self,
      isAlive: (id) => id === host.self || followers.get(id)?.isActive === true,
      hasCaughtUp: (id) => {
        const progress = followers.get(id);
        return progress?.state === 'replicate' && lastIndex - progress.match <= MOST_LACKING;
      },
      mayFill: this.#filling < MOST_FILLING,
    });
    if (changes === undefined) return;
    // Whoever is to go leads no more first: its successor need not be found by an election.
    const isOwn = changes.some(({ type, replica: id }) => type === 'remove' && id === host.self);
    if (isOwn && this.#handOver(group, target)) return;
    if (changes.some(({ type }) => type === 'add learner')) this.#filling++;
    host.changeConfiguration(group, changes);
  }

  #handOver(group: number, target: readonly number[]): boolean {
    const { host } = this.#options;
    const to = target.find((id) => id !== host.self && host.leaderships.mayTakeOver(group, id, MOST_LACKING));
    return to !== undefined && host.transferLeader(group, to) === undefined;
  }

  /** What the tree does not say yet of who holds a group. */
  #report({ group, applied }: GroupReplica, { firstReplicas }: FirstPlacement): GroupPlacement | undefined {
    const configuration = appliedConfiguration(applied);
    if (configuration === undefined || configuration.outgoing.length > 0) return undefined;
    const known = this.#options.placements.of(group);
    const { voters, learners } = configuration;
    const said = known.index === 0 ? [...firstReplicas].sort((a, b) => a - b) : known.voters;
    const isSaid = String(said) === String(voters) && String(known.learners) === String(learners);
    if (isSaid || applied.index <= known.index) return undefined;
    return { target: known.target, index: applied.index, voters, learners };
  }

  async #send(reports: ReadonlyMap<number, GroupPlacement>): Promise<void> {
    if (this.#isReporting) return;
    this.#isReporting = true;
    const { tree } = this.#options;
    // What fails, or lost against another change, is said again at the next look.
    await tree.transact(placementChanges(tree, reports), true).catch(() => undefined);
    this.#isReporting = false;
  }
}

function isFilling({ core }: GroupReplica): boolean {
  const { configuration, followers } = core.status;
  return configuration.learners.some((id) => followers.get(id)?.isActive === true);
}
