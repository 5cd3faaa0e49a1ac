/**
 * Consumer groups as a part of the coordination's state machine: rows by name, each a whole
 * group. A member hangs on a lease, and ends with it.
 */
import { TopicSchema } from '@holdfast/proto/broker/v1/topic';
import { fromBinary } from '@bufbuild/protobuf';
import type { ByteReader } from '../../storage/byte-codec.ts';
import { prefixEnd, type RowKey } from '../../storage/row-key.ts';
import { CoordinationKind } from '../coordination-command.ts';
import type { InternalTree } from '../internal-tree.ts';
import type { LeaseTable } from '../lease-table.ts';
import type { Applying, MachinePart, PartRows } from '../machine-part.ts';
import type { Outcome, Refusal } from '../refusal.ts';
import { ConsumerGroup, type GroupMember } from './consumer-group.ts';
import {
  MAX_MEMBERS,
  encodeAssignment,
  newMember,
  readGroupCommand,
  type GroupCommand,
  type JoinCommand,
  type MemberAssignment,
} from './group-command.ts';

/** Where topics stand in the cluster's own keys. */
export const TOPIC_KEYS = '/holdfast/topics/';
const NOTHING = new Uint8Array(0);

export class GroupPart implements MachinePart {
  readonly kinds = [
    CoordinationKind.groupJoin,
    CoordinationKind.groupRelease,
    CoordinationKind.groupLeave,
    CoordinationKind.groupRefresh,
    CoordinationKind.groupExpel,
    CoordinationKind.groupDelete,
    CoordinationKind.groupTouch,
  ];
  readonly #rows: PartRows;
  readonly #prefix: RowKey;
  readonly #own: Pick<InternalTree, 'get'>;
  readonly #leases: LeaseTable;
  readonly #onChanged: (group: string) => void;
  /** Of topics, by the revision of their key. */
  readonly #counts = new Map<string, { readonly modRevision: number; readonly count: number }>();

  /** `prefix`: of the group's rows. */
  constructor(
    rows: PartRows,
    prefix: RowKey,
    own: Pick<InternalTree, 'get'>,
    leases: LeaseTable,
    onChanged: (group: string) => void,
  ) {
    this.#rows = rows;
    this.#prefix = `${prefix}b`;
    this.#own = own;
    this.#leases = leases;
    this.#onChanged = onChanged;
  }

  parse(kind: number, reader: ByteReader): GroupCommand {
    return readGroupCommand(kind, reader);
  }

  apply(_: number, body: unknown, { stampMs }: Applying): Outcome {
    const command = body as GroupCommand;
    switch (command.kind) {
      case CoordinationKind.groupJoin:
        return this.#join(command, stampMs);
      case CoordinationKind.groupRelease: {
        const group = this.get(command.group);
        const refusal = memberRefusal(group, command.member);
        if (group === undefined || refusal !== undefined) return refusal ?? unknown(command.group);
        group.release(command.member, command.released);
        this.#put(command.group, group);
        return encodeAssignment(this.assignmentOf(group, command.member)!);
      }
      case CoordinationKind.groupLeave:
        this.#leave(command.group, command.member, stampMs);
        return NOTHING;
      case CoordinationKind.groupRefresh:
        return this.#change(command.group, (group) => group.refresh(this.countOf, stampMs));
      case CoordinationKind.groupExpel:
        for (const { id } of this.get(command.group)?.overdue(stampMs) ?? [])
          this.#leave(command.group, id, stampMs);
        return NOTHING;
      case CoordinationKind.groupDelete:
        return this.#delete(command.group);
      case CoordinationKind.groupTouch:
        return this.#touch(command.group, command.topic);
    }
  }

  /** A group; to be read. */
  get(name: string): ConsumerGroup | undefined {
    return this.#rows.live(this.#prefix + name, ConsumerGroup.decode);
  }

  /** What a member has; undefined: there is no such member. */
  assignmentOf(group: ConsumerGroup, id: string): MemberAssignment | undefined {
    const member = group.members.get(id);
    if (member === undefined) return undefined;
    return { member: id, version: member.version, generation: group.generation, ...group.assignmentOf(id) };
  }

  /** Up to `limit` groups, by name, after one; as of one moment. */
  async list(after: string, limit: number): Promise<{ groups: [string, ConsumerGroup][]; more: boolean }> {
    const start = after === '' ? this.#prefix : `${this.#prefix}${after}\0`;
    const { rows, more } = await this.#rows.range(start, prefixEnd(this.#prefix), limit);
    const groups = rows.map(([row, content]): [string, ConsumerGroup] => [
      row.slice(this.#prefix.length),
      ConsumerGroup.decode(content),
    ]);
    return { groups, more };
  }

  /** A lease has ended: whoever hung on it is no member any more. */
  endLease(lease: bigint, names: Iterable<string>, stampMs: number): void {
    for (const name of names) {
      const group = this.get(name);
      const member = group?.ofLease(lease);
      if (group === undefined || member === undefined) continue;
      group.remove(member.id, this.countOf, stampMs);
      this.#put(name, group);
    }
  }

  /** Partitions of a topic as of now. */
  readonly countOf = (topic: string): number | undefined => {
    const node = this.#own.get(TOPIC_KEYS + topic);
    if (node === undefined) return undefined;
    const known = this.#counts.get(topic);
    if (known?.modRevision === node.modRevision) return known.count;
    const count = fromBinary(TopicSchema, node.value).partitions.length;
    this.#counts.set(topic, { modRevision: node.modRevision, count });
    return count;
  };

  #join(command: JoinCommand, stampMs: number): Outcome {
    const { lease, strategy, topics } = command;
    const room = this.#leases.room(lease);
    if (room === 'LEASE_UNKNOWN') return { refused: 'SESSION_EXPIRED', actual: String(lease) };
    const group = this.get(command.group) ?? new ConsumerGroup();
    const known = group.ofLease(lease);
    if (room === 'LEASE_FULL' && known === undefined) return { refused: room, actual: String(lease) };
    if (!group.isEmpty && group.strategy !== strategy)
      return { refused: 'GROUP_STRATEGY_MISMATCH', actual: strategy, limit: group.strategy };
    const isMore = known === undefined && group.ofInstance(command.instanceId) === undefined;
    if (isMore && group.members.size >= MAX_MEMBERS)
      return { refused: 'GROUP_FULL', actual: String(group.members.size), limit: String(MAX_MEMBERS) };
    group.strategy = strategy;
    const member = known ?? this.#newMember(group, command, stampMs);
    if (known !== undefined) {
      known.rebalanceTimeoutMs = command.rebalanceTimeoutMs;
      group.subscribe(known, new Set(topics), this.countOf, stampMs);
    }
    this.#put(command.group, group);
    return encodeAssignment(this.assignmentOf(group, member.id)!);
  }

  #newMember(group: ConsumerGroup, command: JoinCommand, stampMs: number): GroupMember {
    const member = newMember(`${command.lease.toString(36)}-${group.generation + 1}`, command);
    const before = group.ofInstance(command.instanceId);
    if (before === undefined) group.add(member, this.countOf, stampMs);
    else {
      group.replace(before, member, this.countOf, stampMs);
      this.#leases.drop(before.lease, 'groups', command.group);
    }
    this.#leases.add(command.lease, 'groups', command.group);
    return member;
  }

  #leave(name: string, id: string, stampMs: number): void {
    const group = this.get(name);
    const member = group?.members.get(id);
    if (group === undefined || member === undefined) return;
    group.remove(id, this.countOf, stampMs);
    this.#leases.drop(member.lease, 'groups', name);
    this.#put(name, group);
  }

  #touch(name: string, topic: string): Outcome {
    const group = this.get(name) ?? new ConsumerGroup();
    group.committed.add(topic);
    this.#put(name, group);
    return NOTHING;
  }

  #delete(name: string): Outcome {
    const group = this.get(name);
    if (group === undefined) return unknown(name);
    if (!group.isEmpty) return { refused: 'GROUP_NOT_EMPTY', actual: String(group.members.size) };
    this.#rows.delete(this.#prefix + name);
    return NOTHING;
  }

  #change(name: string, change: (group: ConsumerGroup) => void): Outcome {
    const group = this.get(name);
    if (group === undefined) return NOTHING;
    change(group);
    this.#put(name, group);
    return NOTHING;
  }

  #put(name: string, group: ConsumerGroup): void {
    this.#rows.putLive(this.#prefix + name, group);
    this.#onChanged(name);
  }
}

/** Why a member is none; undefined: it is one. */
export function memberRefusal(group: ConsumerGroup | undefined, id: string): Refusal | undefined {
  if (group?.members.has(id) === true) return undefined;
  return {
    refused: group?.isFenced(id) === true ? 'GROUP_MEMBER_FENCED' : 'GROUP_MEMBER_UNKNOWN',
    actual: id,
  };
}

function unknown(name: string): Refusal {
  return { refused: 'GROUP_UNKNOWN', actual: name };
}
