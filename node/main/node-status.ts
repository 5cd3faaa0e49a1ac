/** What a node says of itself: for `GetStatus`, and as gauges. */
import { create } from '@bufbuild/protobuf';
import {
  EndpointsSchema,
  GroupStatusSchema,
  NodeState,
  NodeStatusSchema,
  StorageStatusSchema,
} from '@holdfast/proto/cluster/v1/cluster';
import type { Clock } from '@holdfast/client/clock';
import type { GaugeSource } from '../observe/metrics.ts';
import type { StatusSource } from '../services/cluster-service.ts';
import type { Identity } from '../storage/identity.ts';
import type { CallEdge } from '../transport/call-edge.ts';
import type { Engine } from './engine.ts';

export interface NodeFacts {
  readonly name: string;
  readonly version: string;
  readonly pid: number;
  readonly grpc: string;
  readonly http: string;
  readonly startedAtMs: number;
  readonly isStopping: () => boolean;
}

/** The answer to `GetStatus`, gathered when asked; a node that is starting has no engine yet. */
export function statusSource(
  engine: () => Engine | undefined,
  facts: NodeFacts,
  identity: Pick<Identity, 'node_id' | 'incarnation'>,
): StatusSource {
  return () => {
    const open = engine();
    const { cluster_id: clusterId = '', node_id: nodeId, incarnation } = { ...identity, ...open?.identity };
    const status = create(NodeStatusSchema, {
      name: facts.name,
      nodeId,
      state: open === undefined ? NodeState.STARTING : nodeState(open, facts),
      pid: facts.pid,
      endpoints: create(EndpointsSchema, { grpc: facts.grpc, http: facts.http }),
      version: facts.version,
      startedAtMs: BigInt(facts.startedAtMs),
      incarnation: BigInt(incarnation),
    });
    if (open !== undefined) {
      status.groups = groupStatuses(open);
      status.storage = storageStatus(open);
    }
    return { clusterId, nodes: [status] };
  };
}

function nodeState(engine: Engine, facts: NodeFacts): NodeState {
  if (facts.isStopping()) return NodeState.STOPPING;
  if (engine.host.failure !== undefined) return NodeState.DAMAGED;
  return engine.space.isLow ? NodeState.DISK_LOW : NodeState.RUNNING;
}

function groupStatuses({ host, keyspaces, log }: Engine) {
  return host.replicas.map(({ group, term, lastIndex, applied }) =>
    create(GroupStatusSchema, {
      group: BigInt(group),
      keyspace: keyspaces.nameOf(group),
      term: BigInt(term),
      lastIndex: BigInt(lastIndex),
      appliedIndex: BigInt(applied.index),
      storedIndex: BigInt(log.group(group).storedIndex),
    }),
  );
}

function storageStatus({ log, rows, space, recovery }: Engine) {
  return create(StorageStatusSchema, {
    logBytes: BigInt(log.sizeBytes),
    overlayRows: BigInt(rows.overlay.rows),
    overlayBytes: BigInt(rows.overlay.bytes),
    freeBytes: BigInt(space.freeBytes),
    freeBytesFloor: BigInt(space.floorBytes),
    recoveryMs: recovery.durationMs,
  });
}

/** Figures that Prometheus reads. */
export function gauges(engine: Engine, edge: CallEdge, clock: Clock): GaugeSource[] {
  const { log, rows, host, space, recovery, keyspaces, scrubber } = engine;
  const lag = () =>
    host.replicas.reduce((sum, { group, applied }) => sum + applied.index - log.group(group).storedIndex, 0);
  const ahead = () =>
    Math.max(0, ...host.replicas.map(({ applied }) => applied.stampMs - clock.wallMs())) / 1_000;
  return [
    {
      name: 'holdfast_log_time_ahead_seconds',
      help: 'How far the log time of any group is ahead of the wall clock: times to live are that much longer.',
      read: ahead,
    },
    {
      name: 'holdfast_overlay_rows',
      help: 'Applied rows not yet in the ordered store.',
      read: () => rows.overlay.rows,
    },
    {
      name: 'holdfast_overlay_bytes',
      help: 'Bytes of applied rows not yet in the ordered store.',
      read: () => rows.overlay.bytes,
    },
    {
      name: 'holdfast_store_lag_entries',
      help: 'Applied log entries not yet in the ordered store, over all groups.',
      read: lag,
    },
    {
      name: 'holdfast_store_bytes',
      help: 'Bytes of the ordered store on disk, about.',
      read: () => rows.storeBytes().catch(() => 0),
    },
    {
      name: 'holdfast_scrubbed_rows',
      help: 'Stored rows whose checksum was verified in the background since the start.',
      read: () => scrubber.checkedRows,
    },
    { name: 'holdfast_log_bytes', help: 'Bytes of log segments on disk.', read: () => log.sizeBytes },
    { name: 'holdfast_log_segments', help: 'Log segments that hold records.', read: () => log.segmentCount },
    {
      name: 'holdfast_queue_bytes',
      help: 'Bytes of commands that wait for the log.',
      read: () => host.queuedBytes,
    },
    { name: 'holdfast_in_flight_calls', help: 'Calls being handled.', read: () => edge.inFlight },
    {
      name: 'holdfast_in_flight_bytes',
      help: 'Bytes of requests being handled.',
      read: () => edge.inFlightBytes,
    },
    {
      name: 'holdfast_disk_free_bytes',
      help: 'Bytes free on the disk of the data directory.',
      read: () => space.freeBytes,
    },
    {
      name: 'holdfast_disk_low',
      help: '1 while writes that grow data are refused for lack of space.',
      read: () => (space.isLow ? 1 : 0),
    },
    { name: 'holdfast_groups', help: 'Replicas on this node.', read: () => host.replicas.length },
    { name: 'holdfast_keyspaces', help: 'Keyspaces of the cluster.', read: () => keyspaces.list().length },
    {
      name: 'holdfast_recovery_seconds',
      help: 'How long the last start took to recover.',
      read: () => recovery.durationMs / 1_000,
    },
    {
      name: 'holdfast_recovery_replayed_entries',
      help: 'Log entries applied again at the last start.',
      read: () => recovery.replayedEntries,
    },
  ];
}
