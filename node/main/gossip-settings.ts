/** Gossip as cluster.yaml sets it. */
import type { GossipSettings } from '../cluster/gossip/settings.ts';
import type { ClusterConfig, NodeConfig } from './cluster-file.ts';
import type { EngineGossip } from './engine-gossip.ts';
import { VERSION } from './version.ts';

/** How a node gossips, and what it says of itself. */
export function gossipOf({ gossip }: ClusterConfig, node: NodeConfig): EngineGossip {
  const { zone, datacentre, grpc, http } = node;
  return {
    settings: gossipSettings(gossip),
    meta: { zone, datacentre, grpc: grpc.text, http: http.text, version: VERSION },
  };
}

/** The parts of a probe keep their shares of its interval. */
function gossipSettings({ probeIntervalMs, ...rest }: ClusterConfig['gossip']): Partial<GossipSettings> {
  return {
    ...rest,
    probeIntervalMs,
    probeTimeoutMs: Math.floor(0.5 * probeIntervalMs),
    nackTimeoutMs: Math.floor(0.3 * probeIntervalMs),
  };
}
