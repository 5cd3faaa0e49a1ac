/** Consumer groups and leases over the node of a broker rig, called as a transport would. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  CommitOffsetsRequestSchema,
  DeleteGroupRequestSchema,
  DescribeGroupRequestSchema,
  FetchOffsetsRequestSchema,
  GroupService,
  JoinGroupRequestSchema,
  LeaveGroupRequestSchema,
  ListGroupsRequestSchema,
  ResetOffsetsRequestSchema,
  SyncGroupRequestSchema,
  type AssignedPartition,
} from '@holdfast/proto/broker/v1/group';
import { GrantRequestSchema, KeepAliveRequestSchema, LeaseService } from '@holdfast/proto/lease/v1/lease';
import { groupService } from '../../node/services/group-service.ts';
import type { Handlers } from '../../node/services/handler.ts';
import { leaseService } from '../../node/services/lease-service.ts';
import type { BrokerRig } from './broker-rig.ts';
import { facts } from './refusal.ts';

type Init<S extends Parameters<typeof create>[0]> = MessageInitShape<S>;

/** Of all leases here; long enough for what a test does between two signs of life. */
export const TTL_MS = 30_000;

export class GroupCalls {
  readonly #rig: BrokerRig;

  constructor(rig: BrokerRig) {
    this.#rig = rig;
  }

  get service() {
    const { engine } = this.#rig;
    return groupService({ ...engine, transport: undefined }).handlers as Handlers<typeof GroupService>;
  }

  /** Not through the world's clock: it goes on while other things happen. */
  syncing(init: Init<typeof SyncGroupRequestSchema>) {
    return this.service.syncGroup(this.#rig.context(), create(SyncGroupRequestSchema, init));
  }

  join = (init: Init<typeof JoinGroupRequestSchema>) =>
    this.#run(this.service.joinGroup(this.#rig.context(), create(JoinGroupRequestSchema, init)));
  sync = (init: Init<typeof SyncGroupRequestSchema>) => this.#run(this.syncing(init));
  leave = (init: Init<typeof LeaveGroupRequestSchema>) =>
    this.#run(this.service.leaveGroup(this.#rig.context(), create(LeaveGroupRequestSchema, init)));
  fetchOffsets = (init: Init<typeof FetchOffsetsRequestSchema>) =>
    this.#run(this.service.fetchOffsets(this.#rig.context(), create(FetchOffsetsRequestSchema, init)));
  commit = (init: Init<typeof CommitOffsetsRequestSchema>) =>
    this.#run(this.service.commitOffsets(this.#rig.context(), create(CommitOffsetsRequestSchema, init)));
  list = (init: Init<typeof ListGroupsRequestSchema> = {}) =>
    this.#run(this.service.listGroups(this.#rig.context(), create(ListGroupsRequestSchema, init)));
  describe = (group: string) =>
    this.#run(this.service.describeGroup(this.#rig.context(), create(DescribeGroupRequestSchema, { group })));
  reset = (init: Init<typeof ResetOffsetsRequestSchema>) =>
    this.#run(this.service.resetOffsets(this.#rig.context(), create(ResetOffsetsRequestSchema, init)));
  delete = (group: string) =>
    this.#run(this.service.deleteGroup(this.#rig.context(), create(DeleteGroupRequestSchema, { group })));

  async lease(ttlMs = TTL_MS): Promise<bigint> {
    const request = create(GrantRequestSchema, { ttlMs: BigInt(ttlMs) });
    return (await this.#run(this.#leases.grant(this.#rig.context(), request))).lease;
  }

  async keep(...leases: bigint[]): Promise<void> {
    const request = create(KeepAliveRequestSchema, { leases });
    await this.#run(this.#leases.keepAlive(this.#rig.context(), request));
  }

  /** A new member of a lease of its own. */
  async member(group: string, topics: string[], init: Init<typeof JoinGroupRequestSchema> = {}) {
    const lease = await this.lease();
    const { memberId, assignment } = await this.join({ ...init, group, lease, topics } as never);
    return { lease, memberId, assignment: assignment! };
  }

  /** What a member has now. */
  async assignment(group: string, memberId: string, released: AssignedPartition[] = []) {
    return (await this.sync({ group, memberId, released })).assignment!;
  }

  /** What becomes of one commit of group "g" in topic "t"; undefined: it is stored. */
  async commitOne(offset: number, generation: bigint | number = 0, partition = 0) {
    const one = { topic: 't', partition, offset: BigInt(offset), generation: BigInt(generation) };
    const { error } = (await this.commit({ group: 'g', offsets: [one] })).results[0]!;
    return error === undefined ? undefined : facts(error);
  }

  /** Reads an offset of group "g" in topic "t" as who was given the partition in a generation. */
  async claim(generation: bigint, partition = 0) {
    const query = { topic: 't', partition, generation };
    return (await this.fetchOffsets({ group: 'g', partitions: [query] })).results[0]!;
  }

  /** Puts records into topic "t". */
  async fill(records: number, partition = 0): Promise<void> {
    for (let at = 0; at < records; at++) await this.#rig.append('t', [`${at}`], undefined, partition);
  }

  /** Where a group is in a partition; undefined: it has stored nothing. */
  async offset(group: string, topic: string, partition = 0): Promise<bigint | undefined> {
    const { results } = await this.fetchOffsets({ group, partitions: [{ topic, partition }] });
    return results[0]!.offset;
  }

  get #leases() {
    return leaseService(this.#rig.engine).handlers as Handlers<typeof LeaseService>;
  }

  #run<T>(work: Promise<T>): Promise<T> {
    return this.#rig.run(work);
  }
}

/** Numbers of partitions. */
export const numbers = (partitions: readonly AssignedPartition[]): number[] =>
  partitions.map(({ partition }) => partition);
