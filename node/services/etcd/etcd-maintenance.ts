/** `etcdserverpb.Maintenance`: what operators ask a node with etcd's tools. */
import { crc32 } from 'node:zlib';
import { create } from '@bufbuild/protobuf';
import {
  AlarmMemberSchema,
  AlarmRequest_AlarmAction as AlarmAction,
  AlarmResponseSchema,
  AlarmType,
  DefragmentResponseSchema,
  HashKVResponseSchema,
  HashResponseSchema,
  Maintenance,
  MoveLeaderResponseSchema,
  StatusResponseSchema,
  type AlarmMember,
  type AlarmRequest,
  type HashKVResponse,
  type MoveLeaderResponse,
  type SnapshotResponse,
  type StatusResponse,
} from '@holdfast/proto/etcd/rpc';
import { HoldfastError } from '@holdfast/client/error';
import type { ClusterMembers } from '../../cluster/cluster-members.ts';
import type { LeaderTransfer } from '../../cluster/leader-transfer.ts';
import type { Configuration } from '../../coordination/configuration.ts';
import type { GroupHost } from '../../raft/group-host.ts';
import { COORDINATION_GROUP } from '../../raft/members.ts';
import type { Identity } from '../../storage/identity.ts';
import type { SpaceGuard } from '../../storage/space-guard.ts';
import { serve, type CallContext, type ServedService } from '../handler.ts';
import { memberOf } from './etcd-cluster.ts';
import { EtcdError, asEtcd, etcdError } from './etcd-error.ts';
import { etcdId, type HeaderOf } from './etcd-header.ts';
import { etcdSnapshot } from './etcd-snapshot.ts';
import { keyImage } from './key-image.ts';

/** The version of etcd whose API this is. */
export const ETCD_VERSION = '3.4.0';
/** What etcd says as long as it has all of its history. */
const NEVER_COMPACTED = -1;

export interface EtcdMaintenanceOptions {
  readonly identity: Pick<Identity, 'node_id'>;
  readonly configuration: Configuration;
  readonly host: GroupHost;
  readonly members: Pick<ClusterMembers, 'current'>;
  readonly transfer: Pick<LeaderTransfer, 'run'>;
  readonly space: Pick<SpaceGuard, 'isLow'>;
  readonly header: HeaderOf;
}

export function etcdMaintenanceService(options: EtcdMaintenanceOptions): ServedService {
  const calls = new EtcdMaintenance(options);
  const { header } = options;
  return serve(Maintenance, {
    status: async () => calls.status(),
    alarm: (_, request) =>
      // Without a header, as etcd answers.
      asEtcd(() => create(AlarmResponseSchema, { alarms: calls.alarms(request) })),
    defragment: async () => create(DefragmentResponseSchema, { header: header() }),
    hash: (context) =>
      asEtcd(async () => {
        const { hash } = await calls.hashKv(0, context);
        return create(HashResponseSchema, { header: header(), hash });
      }),
    hashKV: (context, { revision }) => asEtcd(() => calls.hashKv(Math.max(0, Number(revision)), context)),
    moveLeader: (_, { targetID }) => asEtcd(() => calls.moveLeader(targetID)),
    snapshot: (context) => calls.snapshot(context),
  });
}

class EtcdMaintenance {
  readonly #options: EtcdMaintenanceOptions;

  constructor(options: EtcdMaintenanceOptions) {
    this.#options = options;
  }

  status(): StatusResponse {
    const { host, members, header, configuration } = this.#options;
    const { core, applied } = host.replica(COORDINATION_GROUP)!;
    const { term, lastIndex } = core.status;
    const leading = host.leaderOf(COORDINATION_GROUP)?.id;
    const leader = members.current.members.find(({ id }) => id === leading);
    const bytes = BigInt(configuration.figures.bytes);
    const { state } = members.current.members.find(({ id }) => id === host.self) ?? { state: 'active' };
    return create(StatusResponseSchema, {
      header: header(),
      version: ETCD_VERSION,
      dbSize: bytes,
      dbSizeInUse: bytes,
      leader: leader === undefined ? 0n : etcdId(leader.nodeId),
      raftIndex: BigInt(lastIndex),
      raftTerm: BigInt(term),
      raftAppliedIndex: BigInt(applied.index),
      errors: this.#raised.map(({ memberID, alarm }) => `memberID:${memberID} alarm:${AlarmType[alarm]} `),
      isLearner: state === 'joining',
    });
  }

  /** Errors: raising one, which is not served. */
  alarms({ action, memberID, alarm }: AlarmRequest): AlarmMember[] {
    if (action === AlarmAction.ACTIVATE)
      throw new HoldfastError({
        reason: 'UNIMPLEMENTED',
        message: 'alarms are raised by the cluster, and end when their cause does. Nothing was changed.',
        outcome: 'NOT_APPLIED',
      });
    // Of those that were to be ended, these that were: an alarm is there for as long as its cause is.
    if (action === AlarmAction.DEACTIVATE) return [];
    return this.#raised.filter(
      (one) =>
        (memberID === 0n || one.memberID === memberID) && (alarm === AlarmType.NONE || one.alarm === alarm),
    );
  }

  /** Of the keys as of a revision, 0: now. Errors: REVISION_COMPACTED, REVISION_FUTURE. */
  async hashKv(asked: number, context: CallContext): Promise<HashKVResponse> {
    const { configuration, header } = this.#options;
    await configuration.awaitRead(context);
    const { revision, compactRevision } = configuration.figures;
    let hash = 0;
    for await (const part of keyImage(configuration.reads, asked || revision, context.signal))
      hash = crc32(part, hash);
    return create(HashKVResponseSchema, {
      header: header(asked || revision),
      hash,
      compactRevision: BigInt(compactRevision || NEVER_COMPACTED),
    });
  }

  /** Errors: not leader, bad leader transferee. */
  async moveLeader(targetId: bigint): Promise<MoveLeaderResponse> {
    const { host, members, transfer, header } = this.#options;
    if (!host.isLeader(COORDINATION_GROUP)) throw precondition('NOT_LEADER', 'not leader');
    const { id, name } = this.#transferee(targetId);
    if (id !== host.self) {
      const { handedOver } = await transfer.run({
        name: members.current.members.find((member) => member.id === host.self)!.name,
        group: COORDINATION_GROUP,
        to: name,
      });
      if (handedOver === 0) throw timedOut();
    }
    return create(MoveLeaderResponseSchema, { header: header() });
  }

  async *snapshot(context: CallContext): AsyncGenerator<SnapshotResponse> {
    const { configuration, header } = this.#options;
    try {
      yield* etcdSnapshot(configuration, header, context);
    } catch (error) {
      throw etcdError(error);
    }
  }

  #transferee(targetId: bigint) {
    try {
      return memberOf(this.#options.members, targetId);
    } catch {
      throw precondition('MEMBER_UNKNOWN', 'bad leader transferee');
    }
  }

  /** No room in the configuration, or on this node's disk. */
  get #raised(): AlarmMember[] {
    const { identity, configuration, space } = this.#options;
    if (!configuration.isFull && !space.isLow) return [];
    return [create(AlarmMemberSchema, { memberID: etcdId(identity.node_id), alarm: AlarmType.NOSPACE })];
  }
}

function precondition(reason: string, text: string): EtcdError {
  return new EtcdError({ reason, message: text, outcome: 'NOT_APPLIED' }, 'FAILED_PRECONDITION', text);
}

function timedOut(): EtcdError {
  const text = 'request timed out, leader transfer took too long';
  return new EtcdError({ reason: 'UNAVAILABLE', message: text, outcome: 'UNKNOWN' }, 'UNAVAILABLE', text);
}
