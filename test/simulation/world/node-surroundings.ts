import type { Entry } from '../../../node/raft/entry.ts';
import type { GroupReplica } from '../../../node/raft/group-replica.ts';
import type { SimulatedNetwork } from '../../../node/runtime/simulated/simulated-network.ts';
import type { SimulatedScheduler } from '../../../node/runtime/simulated/simulated-scheduler.ts';
import type { SimulatedLinks } from '../../../node/transport/simulated/simulated-links.ts';
import type { Member } from './open-member.ts';
import type { Trace } from './trace.ts';
import type { WorldSettings } from './world-settings.ts';

/** What nodes share. */
export interface NodeSurroundings {
  readonly scheduler: SimulatedScheduler;
  readonly network: SimulatedNetwork;
  readonly links: SimulatedLinks;
  readonly trace: Trace;
  readonly settings: WorldSettings;
  /** All machines. */
  readonly members: readonly Member[];
  /** Names of those that found the cluster. */
  readonly founders: readonly string[];
  /** Something happened that no fault explains. */
  readonly onDefect: (checker: string, message: string) => void;
  /** A node has applied an entry of a group. */
  readonly onApplied?: (
    node: string,
    replica: GroupReplica,
    entry: Entry,
    results: readonly unknown[],
  ) => void;
}
