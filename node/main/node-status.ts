/** What a node says of itself: for `GetStatus`, and as gauges. */
import { create } from '@bufbuild/protobuf';
import {
  EndpointsSchema,
  FollowerStatusSchema,
  GroupRole,
  GroupStatusSchema,
  NodeState,
  NodeStatusSchema,
  StorageStatusSchema,
} from '@holdfast/proto/cluster/v1/cluster';
import type { Clock } from '@holdfast/client/clock';
import type { CounterSource, GaugeSource } from '../observe/metrics.ts';
import type { StatusSource } from '../services/cluster-service.ts';
import { livenessOf } from '../services/member-watch.ts';
import type { Identity } from '../storage/identity.ts';
import type { CallEdge } from '../transport/call-edge.ts';
import type { RoleName } from '../raft/core/ready.ts';
import type { GroupReplica } from '../raft/group-replica.ts';
import type { Engine } from './engine.ts';

export interface NodeFacts {
  readonly name: string;
  readonly version: string;
  readonly pid: number;
  readonly grpc: string;
  readonly http: string;
  readonly startedAtMs: number;
  readonly isStopping: () => boolean;
  /** What the node waits for before it serves; empty: nothing. */
  readonly waitsFor: () => string;
  /** Its data was found damaged before it could be opened. */
  readonly isDamaged: () => boolean;
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
      state: open === undefined ? closedState(facts) : nodeState(open, facts),
      pid: facts.pid,
      endpoints: create(EndpointsSchema, { grpc: facts.grpc, http: facts.http }),
      version: facts.version,
      startedAtMs: BigInt(facts.startedAtMs),
      incarnation: BigInt(incarnation),
      waitsFor: facts.waitsFor(),
    });
    if (open !== undefined) {
      status.id = open.host.self;
      status.liveness = livenessOf(open.gossip?.stateOf({ id: status.id, name: facts.name }));
      status.groups = groupStatuses(open);
      status.storage = storageStatus(open);
    }
    return { clusterId, nodes: [status, ...otherNodes(open)] };
  };
}

/** Where the others are; what they do they say themselves. */
function otherNodes(engine: Engine | undefined) {
  const others = engine?.host.members.filter(({ id }) => id !== engine.host.self) ?? [];
  return others.map(({ id, name, address }) =>
    create(NodeStatusSchema, {
      id,
      name,
      endpoints: create(EndpointsSchema, { grpc: address }),
      liveness: livenessOf(engine?.gossip?.stateOf({ id, name })),
    }),
  );
}

function closedState({ isDamaged }: NodeFacts): NodeState {
  return isDamaged() ? NodeState.DAMAGED : NodeState.STARTING;
}

function nodeState(engine: Engine, facts: NodeFacts): NodeState {
  if (facts.isStopping()) return NodeState.STOPPING;
  if (engine.host.failure !== undefined) return NodeState.DAMAGED;
  return engine.space.isLow ? NodeState.DISK_LOW : NodeState.RUNNING;
}

const ROLES: Readonly<Record<RoleName, GroupRole>> = {
  follower: GroupRole.FOLLOWER,
  preCandidate: GroupRole.CANDIDATE,
  candidate: GroupRole.CANDIDATE,
  leader: GroupRole.LEADER,
};

function groupStatuses(engine: Engine) {
  return engine.host.replicas.map((replica) => groupStatus(engine, replica));
}

function groupStatus({ host, keyspaces, log }: Engine, { group, core, applied }: GroupReplica) {
  const { role, term, lastIndex, committed, configuration, followers } = core.status;
  const name = (id: number) => host.memberName(id);
  return create(GroupStatusSchema, {
    group: BigInt(group),
    keyspace: keyspaces.nameOf(group),
    term: BigInt(term),
    lastIndex: BigInt(lastIndex),
    appliedIndex: BigInt(applied.index),
    storedIndex: BigInt(log.group(group).storedIndex),
    role: ROLES[role],
    leader: host.leaderOf(group)?.name ?? '',
    commitIndex: BigInt(committed),
    voters: configuration.voters.map(name),
    outgoing: configuration.outgoing.map(name),
    learners: configuration.learners.map(name),
    followers: [...followers].map(([id, { match, isActive, state }]) =>
      create(FollowerStatusSchema, {
        name: name(id),
        lagEntries: BigInt(Math.max(0, lastIndex - match)),
        active: isActive,
        needsSnapshot: state === 'snapshot',
      }),
    ),
  });
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
    {
      name: 'holdfast_forwarding_bytes',
      help: 'Bytes of writes that wait for other nodes.',
      read: () => engine.forwardedBytes(),
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
    {
      name: 'holdfast_groups_led',
      help: 'Groups that this node leads.',
      read: () => host.leaderships.ledBy(host.self),
    },
    {
      name: 'holdfast_follower_lag_entries',
      help: 'Entries that a peer lacks of a group that is led here, of all groups the most, by peer.',
      label: 'peer',
      read: () => {
        const lags = [...host.leaderships.followerLags()];
        return Object.fromEntries(lags.map(([id, lag]) => [host.memberName(id), lag]));
      },
    },
    {
      name: 'holdfast_clock_offset_seconds',
      help: 'How far the clock of this node is from the median of all; a leader hands over at 0.5.',
      read: () => host.clockOffsetMs / 1_000,
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

/** Counts that Prometheus reads. */
export function counters({ host }: Engine): CounterSource[] {
  const one = (name: string, help: string, value: () => number): CounterSource => {
    return { name, help, labels: [], read: () => [[{}, value()]] };
  };
  return [
    one(
      'holdfast_elections_total',
      'Times that a replica here stood for election.',
      () => host.leaderships.elections,
    ),
    one(
      'holdfast_leaderships_total',
      'Times that a replica here began to lead its group.',
      () => host.leaderships.won,
    ),
    one(
      'holdfast_snapshots_sent_total',
      'Snapshots that this node has sent whole.',
      () => host.snapshots.sent,
    ),
    one(
      'holdfast_snapshots_received_total',
      'Snapshots that this node has received whole.',
      () => host.snapshots.received,
    ),
    {
      name: 'holdfast_proposals_total',
      help:
        'Commands proposed to groups here, by result: logged, refused (not leader), expired (deadline), ' +
        'lost (the node stopped leading before they were committed; they may be kept).',
      labels: ['result'],
      read: () => Object.entries(host.proposals).map(([result, count]) => [{ result }, count] as const),
    },
  ];
}
