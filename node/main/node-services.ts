/** The services that applications call, over a node's engine: the one list of them. */
import type { Clock } from '@holdfast/client/clock';
import { AuthService } from '@holdfast/proto/auth/v1/auth';
import { BrokerService } from '@holdfast/proto/broker/v1/broker';
import { GroupService } from '@holdfast/proto/broker/v1/group';
import { TopicService } from '@holdfast/proto/broker/v1/topic';
import { BackupService } from '@holdfast/proto/cluster/v1/backup';
import { ConfigService } from '@holdfast/proto/config/v1/config';
import { Auth, Cluster, KV, Lease, Maintenance, Watch } from '@holdfast/proto/etcd/rpc';
import { Election } from '@holdfast/proto/etcd/v3election';
import { Lock } from '@holdfast/proto/etcd/v3lock';
import { ElectionService } from '@holdfast/proto/election/v1/election';
import { IdService } from '@holdfast/proto/id/v1/id';
import { KeyspaceService } from '@holdfast/proto/kv/v1/keyspace';
import { KvService } from '@holdfast/proto/kv/v1/kv';
import { LeaseService } from '@holdfast/proto/lease/v1/lease';
import { LockService } from '@holdfast/proto/lock/v1/lock';
import { leasedNeeds } from '../services/access-names.ts';
import { authService } from '../services/auth-service.ts';
import { backupService } from '../services/backup-service.ts';
import { brokerService } from '../services/broker-service.ts';
import { configService } from '../services/config-service.ts';
import { deferredService } from '../services/deferred-service.ts';
import { etcdAuthService } from '../services/etcd/etcd-auth.ts';
import { etcdClusterService } from '../services/etcd/etcd-cluster.ts';
import { etcdElectionService } from '../services/etcd/etcd-election.ts';
import { etcdHeader } from '../services/etcd/etcd-header.ts';
import { etcdKvService } from '../services/etcd/etcd-kv.ts';
import { etcdLeaseService } from '../services/etcd/etcd-lease.ts';
import { DEFAULT_ETCD_LIMITS, type EtcdLimits } from '../services/etcd/etcd-limits.ts';
import { etcdLockService } from '../services/etcd/etcd-lock.ts';
import { etcdMaintenanceService } from '../services/etcd/etcd-maintenance.ts';
import { EtcdTurns } from '../services/etcd/etcd-turns.ts';
import { etcdWatchService } from '../services/etcd/etcd-watch.ts';
import { electionService } from '../services/election-service.ts';
import type { ServedService } from '../services/handler.ts';
import { idService } from '../services/id-service.ts';
import { keyspaceService } from '../services/keyspace-service.ts';
import { kvService } from '../services/kv-service.ts';
import { leaseService } from '../services/lease-service.ts';
import { lockService } from '../services/lock-service.ts';
import { groupService } from '../services/group-service.ts';
import { topicService } from '../services/topic-service.ts';
import type { LeasedNeeds } from '../services/operation-needs.ts';
import { EventEncoder } from '../services/watch-encoder.ts';
import { WatchStream } from '../services/watch-stream.ts';
import { WatchStreams, type OpenStream } from '../services/watch-streams.ts';
import type { Engine } from './engine.ts';

/** What services need besides the engine. */
export interface ServiceSurroundings {
  readonly clock: Clock;
  /** Aborted when the node stops: streams end. */
  readonly stopping: AbortSignal;
  /** Told of each operation of a pipeline. */
  readonly observe: (operation: string, code: string, durationMs: number) => void;
  /** Bounds of etcd's API; default: etcd's. */
  readonly etcd?: EtcdLimits;
  /** Whether the node's ports speak TLS; default: they do not. */
  readonly hasTls?: boolean;
}

/** The services; calls are let in when there is an engine. */
export function engineServices(engine: () => Engine, surroundings: ServiceSurroundings): ServedService[] {
  const { clock, stopping, etcd = DEFAULT_ETCD_LIMITS, hasTls = false } = surroundings;
  return [
    deferredService(KvService, () => kvService({ ...engine(), ...surroundings })),
    deferredService(KeyspaceService, () => keyspaceService(engine().keyspaces)),
    deferredService(ConfigService, () => {
      const encoder = new EventEncoder();
      const open: OpenStream = (node, ...stream) => new WatchStream({ ...node, encoder }, ...stream);
      const { watch } = new WatchStreams({ ...engine(), clock, stopping, open });
      const { configuration, sessions } = engine();
      const leased: LeasedNeeds = (lease, use) => leasedNeeds(sessions, lease, use);
      return configService({ configuration, ...surroundings, watch, leased });
    }),
    deferredService(LeaseService, () => leaseService(engine())),
    deferredService(LockService, () => lockService({ ...engine(), stopping })),
    deferredService(ElectionService, () => electionService({ ...engine(), clock, stopping })),
    deferredService(AuthService, () => authService(engine().auth)),
    deferredService(Auth, () => {
      const { auth } = engine();
      return etcdAuthService({ auth, header: etcdHeader(engine()) });
    }),
    deferredService(KV, () => {
      const { configuration } = engine();
      return etcdKvService({ configuration, header: etcdHeader(engine()), limits: etcd });
    }),
    deferredService(Lease, () => {
      const { sessions, leaderCalls } = engine();
      return etcdLeaseService({ sessions, leaderCalls, header: etcdHeader(engine()), clock, stopping });
    }),
    deferredService(Watch, () => {
      const { coordination, configuration } = engine();
      const header = etcdHeader(engine());
      return etcdWatchService({ coordination, configuration, header, clock, stopping });
    }),
    deferredService(Cluster, () => etcdClusterService({ ...engine(), header: etcdHeader(engine()), hasTls })),
    deferredService(Maintenance, () => etcdMaintenanceService({ ...engine(), header: etcdHeader(engine()) })),
    deferredService(Lock, () => {
      const { configuration } = engine();
      const turns = new EtcdTurns({ ...engine(), clock, stopping });
      return etcdLockService({ configuration, turns, header: etcdHeader(engine()) });
    }),
    deferredService(Election, () => {
      const turns = new EtcdTurns({ ...engine(), clock, stopping });
      return etcdElectionService({ turns, header: etcdHeader(engine()) });
    }),
    deferredService(IdService, () => idService(engine())),
    deferredService(TopicService, () => topicService(engine())),
    deferredService(BrokerService, () => {
      const { forwarding: transport } = engine();
      return brokerService({ ...engine(), ...surroundings, transport });
    }),
    deferredService(GroupService, () => groupService({ ...engine(), transport: engine().forwarding })),
    deferredService(BackupService, () => {
      const { kv, keyspaces, saves, identity } = engine();
      return backupService({ kv, keyspaces, saves, clock, clusterId: identity.cluster_id ?? '' });
    }),
  ];
}
