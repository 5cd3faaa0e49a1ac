/**
 * Finds out how the members have changed while this node was away. Whoever was removed is told
 * nothing any more, and whoever has not heard of a new member does not listen to it, though it
 * may lead by now. So a node that hears of no leader, or knows that it is in group 0 no longer,
 * asks.
 *
 *  1. It was removed if another member of the same cluster knows a later table without it: a
 *     number is never given again, so that stays true.
 *  2. What another member tells is a table that it has applied, so it is committed.
 *  3. A member that was replaced goes out of group 0 at once, and so does not hear where the
 *     groups that it leads are to be. Should it be back, it leaves leading them to others.
 */
import type { Clock } from '@holdfast/client/clock';
import type { Transport } from '@holdfast/client/transport';
import type { GroupHost } from '../raft/group-host.ts';
import { COORDINATION_GROUP } from '../raft/members.ts';
import { members as everyone } from '../raft/core/configuration.ts';
import type { ClusterMembers } from './cluster-members.ts';
import { askIntroduction } from './introduce.ts';
import type { ClusterMember, MemberTable } from './membership.ts';
import { Rounds } from './rounds.ts';

const EVERY_MS = 1_000;
/** Looks without a leader before anybody is asked: elections are sooner over. */
const PATIENCE = 3;
/** For so long no leadership is taken; it is said again with each look. */
const REST_MS = 5_000;

export interface RemovalWatchOptions {
  readonly self: string;
  readonly host: GroupHost;
  readonly members: ClusterMembers;
  readonly transport: Transport;
  readonly addressOf: (member: ClusterMember) => string;
  readonly clock: Clock;
  readonly onRemoved: (error: Error) => void;
}

export class RemovalWatch {
  readonly #options: RemovalWatchOptions;
  readonly #rounds: Rounds;
  #lonely = 0;

  constructor(options: RemovalWatchOptions) {
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
    this.#lonely = this.#isInTouch() ? 0 : this.#lonely + 1;
    if (this.#lonely < PATIENCE) return;
    const { host, members } = this.#options;
    const others = members.current.members.filter(({ id }) => id !== host.self);
    const told = await Promise.all(others.map((member) => this.#newerTable(member)));
    if (this.#rounds.isStopped) return;
    const witness = others.find((_, at) => told[at]?.members.some(({ id }) => id === host.self) === false);
    if (witness === undefined) {
      for (const table of told) if (table !== undefined) members.learn(table); // invariant 2
      if (this.#isLeaving()) await host.leaderships.rest(REST_MS, () => host.failure !== undefined); // invariant 3
      return;
    }
    this.#rounds.stop();
    this.#options.onRemoved(
      new Error(
        `this node was removed from the cluster, says ${witness.name}. Its data serves nobody any more: ` +
          'move the directory away. To have the node back, start it with an empty one and add it to the cluster.',
      ),
    );
  }

  #isInTouch(): boolean {
    const { host } = this.#options;
    const configuration = host.replica(COORDINATION_GROUP)?.core.configuration;
    const isIn = configuration !== undefined && everyone(configuration).includes(host.self);
    return isIn && host.leaderOf(COORDINATION_GROUP) !== undefined;
  }

  #isLeaving(): boolean {
    const { host, members } = this.#options;
    return members.current.members.some(({ id, state }) => id === host.self && state === 'leaving');
  }

  /** What a member knows that this node does not. Invariant 1. */
  async #newerTable(member: ClusterMember): Promise<MemberTable | undefined> {
    const { transport, addressOf, self, members } = this.#options;
    const told = (await askIntroduction(transport, addressOf(member), self))?.membership;
    const { clusterId, version } = members.current;
    return told?.clusterId === clusterId && told.version > version ? told : undefined;
  }
}
