/** The gossip of an engine: how the driver is joined to what it is a part of. */
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import { GossipDriver } from '../cluster/gossip-driver.ts';
import type { Instance, NodeMeta } from '../cluster/gossip/node-record.ts';
import type { GossipSettings } from '../cluster/gossip/settings.ts';
import type { GroupHost } from '../raft/group-host.ts';
import type { Identity } from '../storage/identity.ts';

/** How a node gossips. */
export interface EngineGossip {
  readonly settings?: Partial<GossipSettings>;
  /** What it says of itself. */
  readonly meta: Omit<NodeMeta, 'load'>;
  /** A later run has this node's name: it is not heard any more. */
  readonly onSuperseded?: (newer: Instance) => void;
}

export interface EngineGossipParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly host: GroupHost;
  /** As of this start. */
  readonly identity: Identity;
  /** Bound on the bytes of writes that wait. */
  readonly queueBytes: number;
}

/** Gossip of this run of the node, which has begun; its members are yet to be set. */
export function startGossip(
  { settings, meta, onSuperseded }: EngineGossip,
  { clock, random, host, identity, queueBytes }: EngineGossipParts,
): GossipDriver {
  const { node_name: name, cluster_id: clusterId, incarnation: start } = identity;
  const driver = new GossipDriver({
    settings: settings ?? {},
    clusterId: clusterId ?? '0'.repeat(32),
    self: { name, member: host.self, start, ...meta, load: 0 },
    clock,
    random: () => random.float(),
    send: (to, message) => host.sendGossip(to, message),
    load: () => (100 * host.queuedBytes) / queueBytes,
    isOver: () => host.failure !== undefined,
    onSuperseded,
  });
  host.onGossip = (from, message) => driver.receive(from, message);
  return driver;
}
