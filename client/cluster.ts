import { create } from '@bufbuild/protobuf';
import {
  AddMemberRequestSchema,
  ClusterService,
  ListMembersRequestSchema,
  RemoveMemberRequestSchema,
  ReplaceMemberRequestSchema,
  TransferLeadersRequestSchema,
} from '@holdfast/proto/cluster/v1/cluster';
import type { ClientCore } from './core.ts';
import { timeoutMs } from './duration.ts';
import type { CallOptions } from './keyspace-options.ts';
import { described, statusOf, type MemberDescription, type MemberStatus } from './member-status.ts';
import { followMembers } from './member-stream.ts';
import { callUnary, type UnaryOptions } from './unary.ts';

/** The members, and what is on its way between them. */
export interface MemberList {
  members: MemberStatus[];
  /** Groups whose replicas are on their way to other nodes. */
  movingGroups: number;
}

/** The members as they are now, and what of them is news. */
export interface MemberUpdate extends MemberList {
  /** Those of which something is known otherwise than by the update before; at first all. */
  changed: MemberStatus[];
  /** Names of those that are members no more. */
  gone: string[];
  /** Name of the node that says so. */
  node: string;
}

/** A node to be taken in; addresses as `host:port`. */
export interface NewMember {
  name: string;
  grpc: string;
  http: string;
}

/** What is handed over, of one group. */
export interface TransferOptions extends CallOptions {
  /** This group alone. Default: all that the node leads. */
  group?: bigint | undefined;
  /** Name of the node that is to lead it. Default: whichever voter is best placed. */
  to?: string | undefined;
}

/**
 * Lists and changes the members of the cluster. A change resolves when it is committed; the
 * cluster carries it through by itself, and `members` shows how far it has come. None is
 * retried once it may have been executed; repeating it is harmless.
 */
export class Cluster {
  readonly #core: ClientCore;

  /** @internal */
  constructor(core: ClientCore) {
    this.#core = core;
  }

  /**
   * The members, as committed. `local`: as the asked node knows them, at once and also without a
   * majority. Error: NOT_LEADER, never with `local`.
   */
  async members(options: CallOptions & { local?: boolean } = {}): Promise<MemberList> {
    const method = ClusterService.method.listMembers;
    const { local = false } = options;
    const request = create(ListMembersRequestSchema, { local });
    const callOptions = { ...unary(options, false), isQuick: local };
    const { members, movingGroups } = await callUnary(this.#core, method, request, callOptions);
    return { members: members.map(statusOf), movingGroups };
  }

  /**
   * Follows which members seem alive: all of them first, and again whenever something is known
   * otherwise. Goes on by another node when one fails; what it says may then be older for a
   * moment. A slow reader misses what was in between, and never the last. It decides nothing:
   * who is dead here may answer another one. Ends when the loop is left, with CANCELLED when
   * `signal` aborts, and with CLIENT_CLOSED.
   */
  watchMembers(options: { signal?: AbortSignal } = {}): AsyncGenerator<MemberUpdate, void, undefined> {
    return followMembers(this.#core, options.signal);
  }

  /** Takes in a node that waits to be added. Errors: MEMBER_EXISTS, MEMBER_CHANGE_RUNNING, MEMBER_CHANGE_REFUSED. */
  async add({ name, grpc, http }: NewMember, options: CallOptions = {}): Promise<MemberDescription> {
    const method = ClusterService.method.addMember;
    const request = create(AddMemberRequestSchema, { name, endpoints: { grpc, http } });
    const { member } = await callUnary(this.#core, method, request, unary(options, true));
    return described(member);
  }

  /**
   * Moves everything away from a member and lets it go. `allowFewerCopies`: also when keyspaces
   * keep fewer copies then. Errors: MEMBER_UNKNOWN, MEMBER_CHANGE_RUNNING, MEMBER_CHANGE_REFUSED.
   */
  async remove(name: string, options: CallOptions & { allowFewerCopies?: boolean } = {}): Promise<void> {
    const method = ClusterService.method.removeMember;
    const { allowFewerCopies = false } = options;
    const request = create(RemoveMemberRequestSchema, { name, allowFewerCopies });
    await callUnary(this.#core, method, request, unary(options, true));
  }

  /** Takes in a node in place of a member that is gone for good. Errors: as of `add` and `remove`. */
  async replace(oldName: string, node: NewMember, options: CallOptions = {}): Promise<MemberDescription> {
    const method = ClusterService.method.replaceMember;
    const { name, grpc, http } = node;
    const request = create(ReplaceMemberRequestSchema, { oldName, name, endpoints: { grpc, http } });
    const { member } = await callUnary(this.#core, method, request, unary(options, true));
    return described(member);
  }

  /** Hands what a node leads to others. Errors: MEMBER_UNKNOWN, MEMBER_CHANGE_REFUSED, UNAVAILABLE. */
  async transfer(name: string, options: TransferOptions = {}): Promise<{ handedOver: number; kept: number }> {
    const method = ClusterService.method.transferLeaders;
    const request = create(TransferLeadersRequestSchema, { name, to: options.to ?? '' });
    if (options.group !== undefined) request.group = options.group;
    const { handedOver, kept } = await callUnary(this.#core, method, request, unary(options, true));
    return { handedOver, kept };
  }
}

function unary(options: CallOptions, isWrite: boolean): UnaryOptions {
  const time = options.timeout === undefined ? undefined : timeoutMs(options.timeout);
  return { timeoutMs: time, signal: options.signal, isWrite };
}
