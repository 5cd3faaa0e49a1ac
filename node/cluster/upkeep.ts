/** All that follows the members of the cluster on a node, and carries their changes through. */
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import type { Transport } from '@holdfast/client/transport';
import type { GroupHost } from '../raft/group-host.ts';
import type { ClusterMembers } from './cluster-members.ts';
import type { ClusterTree } from './cluster-tree.ts';
import type { GroupPlacements } from './group-placements.ts';
import { LeaderTransfer } from './leader-transfer.ts';
import { MemberChanges } from './member-changes.ts';
import type { ClusterMember } from './membership.ts';
import type { FirstPlacement } from './placed-groups.ts';
import { Planner } from './planner.ts';
import { RebuildGrants } from './rebuild-grants.ts';
import { RemovalWatch } from './removal-watch.ts';
import { ReplicaMover } from './replica-mover.ts';

export interface UpkeepOptions {
  readonly self: string;
  /** Name of the cluster in cluster.yaml; undefined: any. */
  readonly cluster: string | undefined;
  readonly host: GroupHost;
  readonly tree: ClusterTree;
  readonly members: ClusterMembers;
  readonly placements: GroupPlacements;
  readonly groups: () => readonly FirstPlacement[];
  readonly transport: Transport | undefined;
  readonly addressOf: (member: ClusterMember) => string;
  readonly addressProblem: (address: string) => string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly onRemoved: (error: Error) => void;
}

export class Upkeep {
  readonly changes: MemberChanges;
  readonly rebuilds: RebuildGrants;
  readonly transfer: LeaderTransfer;
  readonly #running: readonly { stop(): void }[];

  constructor(options: UpkeepOptions) {
    const { transport } = options;
    this.changes = new MemberChanges(options);
    this.rebuilds = new RebuildGrants({ ...options, changes: this.changes });
    this.transfer = new LeaderTransfer(options);
    const watch = transport && new RemovalWatch({ ...options, transport });
    this.#running = [new ReplicaMover(options), new Planner(options), ...(watch ? [watch] : [])];
  }

  stop(): void {
    for (const one of this.#running) one.stop();
  }
}
