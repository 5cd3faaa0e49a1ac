/** Defects of everything around the Raft core. */
import { BROKER_DEFECTS } from './broker-defects.ts';
import { CLUSTER_DEFECTS } from './cluster-defects.ts';
import { COORDINATION_DEFECTS } from './coordination-defects.ts';
import { FORWARD_DEFECTS } from './forward-defects.ts';
import { GOSSIP_DEFECTS } from './gossip-defects.ts';
import { HOST_DEFECTS } from './host-defects.ts';
import { LOG_DEFECTS } from './log-defects.ts';
import { MEMBER_DEFECTS } from './member-defects.ts';
import { ROW_DEFECTS } from './row-defects.ts';
import { SERVICE_DEFECTS } from './service-defects.ts';
import { SNAPSHOT_DEFECTS } from './snapshot-defects.ts';
import type { WorldDefect } from './world-defect.ts';

export const WORLD_DEFECTS: readonly WorldDefect[] = [
  ...LOG_DEFECTS,
  ...ROW_DEFECTS,
  ...HOST_DEFECTS,
  ...SERVICE_DEFECTS,
  ...FORWARD_DEFECTS,
  ...CLUSTER_DEFECTS,
  ...MEMBER_DEFECTS,
  ...SNAPSHOT_DEFECTS,
  ...COORDINATION_DEFECTS,
  ...GOSSIP_DEFECTS,
  ...BROKER_DEFECTS,
];
