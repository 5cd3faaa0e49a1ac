/** Commands of consumer groups as they stand in group 0's log, and what they result in. */
import { ByteReader, ByteWriter } from '../../storage/byte-codec.ts';
import { CoordinationKind } from '../coordination-command.ts';
import type { Strategy } from './assignment.ts';
import type { GroupMember, OwnedPartition, Released } from './consumer-group.ts';

export const MAX_MEMBERS = 1_000;
export const MAX_MEMBER_TOPICS = 256;
export const GROUP_NAME_FORM = /^[a-zA-Z0-9._-]{1,128}$/;
const STRATEGIES: readonly Strategy[] = ['range', 'round-robin', 'cooperative-sticky'];

export interface JoinCommand {
  readonly kind: typeof CoordinationKind.groupJoin;
  readonly group: string;
  readonly lease: bigint;
  readonly topics: readonly string[];
  readonly strategy: Strategy;
  readonly instanceId: string;
  readonly clientName: string;
  readonly rebalanceTimeoutMs: number;
}

export interface ReleaseCommand {
  readonly kind: typeof CoordinationKind.groupRelease;
  readonly group: string;
  readonly member: string;
  readonly released: readonly Released[];
}

export interface LeaveCommand {
  readonly kind: typeof CoordinationKind.groupLeave;
  readonly group: string;
  readonly member: string;
}

/** The group has stored offsets of a topic. */
export interface TouchCommand {
  readonly kind: typeof CoordinationKind.groupTouch;
  readonly group: string;
  readonly topic: string;
}

/** Refresh: topics may have other partitions. Expel: members may be overdue. */
export interface PlainCommand {
  readonly kind:
    | typeof CoordinationKind.groupRefresh
    | typeof CoordinationKind.groupExpel
    | typeof CoordinationKind.groupDelete;
  readonly group: string;
}

export type GroupCommand = JoinCommand | ReleaseCommand | LeaveCommand | TouchCommand | PlainCommand;

export function writeGroupCommand(writer: ByteWriter, command: GroupCommand): void {
  writer.latin1(command.group);
  if (command.kind === CoordinationKind.groupJoin) {
    writer.i64(command.lease).u8(STRATEGIES.indexOf(command.strategy)).u64(command.rebalanceTimeoutMs);
    writer.bytes(Buffer.from(command.instanceId)).bytes(Buffer.from(command.clientName));
    writer.u32(command.topics.length);
    for (const topic of command.topics) writer.latin1(topic);
  } else if (command.kind === CoordinationKind.groupLeave) writer.latin1(command.member);
  else if (command.kind === CoordinationKind.groupTouch) writer.latin1(command.topic);
  else if (command.kind === CoordinationKind.groupRelease) {
    writer.latin1(command.member).u32(command.released.length);
    for (const { topic, number, generation } of command.released)
      writer.latin1(topic).u32(number).u64(generation);
  }
}

/** Error: RangeError. */
export function readGroupCommand(kind: number, reader: ByteReader): GroupCommand {
  const group = reader.latin1();
  if (!GROUP_NAME_FORM.test(group)) throw new RangeError('a consumer group of a name that may not be');
  switch (kind) {
    case CoordinationKind.groupJoin: {
      const [lease, strategy, rebalanceTimeoutMs] = [reader.i64(), STRATEGIES[reader.u8()], reader.u64()];
      const [instanceId, clientName] = [reader.bytes().toString(), reader.bytes().toString()];
      const count = reader.u32();
      if (strategy === undefined || count > MAX_MEMBER_TOPICS)
        throw new RangeError('a member that may not be');
      const topics = Array.from({ length: count }, () => reader.latin1());
      return { kind, group, lease, topics, strategy, instanceId, clientName, rebalanceTimeoutMs };
    }
    case CoordinationKind.groupRelease: {
      const [member, count] = [reader.latin1(), reader.u32()];
      if (count > 65_536) throw new RangeError(`${count} released partitions`);
      const released = Array.from({ length: count }, () => ({
        topic: reader.latin1(),
        number: reader.u32(),
        generation: reader.u64(),
      }));
      return { kind, group, member, released };
    }
    case CoordinationKind.groupLeave:
      return { kind, group, member: reader.latin1() };
    case CoordinationKind.groupTouch:
      return { kind, group, topic: reader.latin1() };
    case CoordinationKind.groupRefresh:
    case CoordinationKind.groupExpel:
    case CoordinationKind.groupDelete:
      return { kind, group };
  }
  throw new RangeError(`unknown command ${kind} of consumer groups`);
}

/** What a member has. */
export interface MemberAssignment {
  readonly member: string;
  readonly version: number;
  readonly generation: number;
  readonly owned: readonly AssignedPartition[];
  readonly revoked: readonly AssignedPartition[];
}

export type AssignedPartition = Pick<OwnedPartition, 'topic' | 'number' | 'generation'>;

export function encodeAssignment({
  member,
  version,
  generation,
  owned,
  revoked,
}: MemberAssignment): Uint8Array {
  const writer = new ByteWriter(64 + 40 * (owned.length + revoked.length));
  writer.latin1(member).u64(version).u64(generation);
  for (const partitions of [owned, revoked]) {
    writer.u32(partitions.length);
    for (const { topic, number, generation: given } of partitions)
      writer.latin1(topic).u32(number).u64(given);
  }
  return writer.finish();
}

/** Error: RangeError. */
export function decodeAssignment(outcome: Uint8Array): MemberAssignment {
  const reader = new ByteReader(outcome);
  const [member, version, generation] = [reader.latin1(), reader.u64(), reader.u64()];
  const list = (): AssignedPartition[] =>
    Array.from({ length: reader.u32() }, () => ({
      topic: reader.latin1(),
      number: reader.u32(),
      generation: reader.u64(),
    }));
  return { member, version, generation, owned: list(), revoked: list() };
}

/** A member as it joins. */
export function newMember(id: string, command: JoinCommand): GroupMember {
  const { lease, instanceId, clientName, topics, rebalanceTimeoutMs } = command;
  return { id, lease, instanceId, clientName, topics: new Set(topics), rebalanceTimeoutMs, version: 1 };
}
