import { create } from '@bufbuild/protobuf';
import {
  AddMemberRequestSchema,
  ClusterService,
  ListMembersRequestSchema,
  MemberState,
  RemoveMemberRequestSchema,
  ReplaceMemberRequestSchema,
  TransferLeadersRequestSchema,
  type ClusterMember as MemberMessage,
} from '@holdfast/proto/cluster/v1/cluster';
import type { ClientCore } from './core.ts';
import { timeoutMs } from './duration.ts';
import { HoldfastError } from './error.ts';
import type { CallOptions } from './keyspace-options.ts';
import { callUnary, type UnaryOptions } from './unary.ts';

/** A member of the cluster. */
export interface MemberDescription {
  /** Its number as a replica; never given to another node. */
  id: number;
  name: string;
  /** Drawn when its data directory was created. */
  nodeId: string;
  /** Addresses, as `host:port`. */
  grpc: string;
  http: string;
  /** `joining` until it votes, `leaving` until nothing is left on it. */
  state: 'joining' | 'active' | 'leaving' | 'unknown';
  /** Number of the member in whose place it comes. */
  replaces: number | undefined;
}

/** A member, and how it fares. */
export interface MemberStatus extends MemberDescription {
  /** Whether it answered the asked node within a second. */
  alive: boolean;
  /** Groups of which it is to hold a replica. */
  replicas: number;
}

/** The members, and what is on its way between them. */
export interface MemberList {
  members: MemberStatus[];
  /** Groups whose replicas are on their way to other nodes. */
  movingGroups: number;
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

  /** The members, as committed. Error: NOT_LEADER. */
  async members(options: CallOptions = {}): Promise<MemberList> {
    const method = ClusterService.method.listMembers;
    const request = create(ListMembersRequestSchema);
    const { members, movingGroups } = await callUnary(this.#core, method, request, unary(options, false));
    return {
      members: members.map(({ member, alive, replicas }) => ({ ...described(member), alive, replicas })),
      movingGroups,
    };
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

const STATES: Readonly<Record<MemberState, MemberDescription['state']>> = {
  [MemberState.UNSPECIFIED]: 'unknown',
  [MemberState.JOINING]: 'joining',
  [MemberState.ACTIVE]: 'active',
  [MemberState.LEAVING]: 'leaving',
};

function described(member: MemberMessage | undefined): MemberDescription {
  if (member === undefined) {
    throw new HoldfastError({ reason: 'INTERNAL', message: 'the node answered without a member' });
  }
  const { id, name, nodeId, endpoints, state, replaces } = member;
  return {
    id,
    name,
    nodeId,
    grpc: endpoints?.grpc ?? '',
    http: endpoints?.http ?? '',
    state: STATES[state] ?? 'unknown',
    replaces: replaces === 0 ? undefined : replaces,
  };
}
