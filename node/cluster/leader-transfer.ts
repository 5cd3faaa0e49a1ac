/** Leaderships handed over because an operator says so, wherever they are. */
import { create } from '@bufbuild/protobuf';
import { sleep, type Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import type { Transport } from '@holdfast/client/transport';
import {
  ClusterService,
  TransferLeadersRequestSchema,
  type TransferLeadersResponse,
} from '@holdfast/proto/cluster/v1/cluster';
import type { GroupHost } from '../raft/group-host.ts';
import type { ClusterMembers } from './cluster-members.ts';
import { knownMember, refused } from './member-change.ts';
import type { ClusterMember } from './membership.ts';

/** A node that has handed over all takes no leadership for so long: time to do what it was done for. */
const REST_MS = 60_000;
/** Longest that a handover of one group is waited for. */
const HAND_OVER_MS = 3_000;
const LOOK_MS = 20;
/** What another node has to do its part. */
const CALL_MS = 8_000;
/** Entries that the next leader may lack. */
const MOST_LACKING = 2_048;

/** What was asked for. */
export interface Transfer {
  /** Name of the node that is to lead no more. */
  readonly name: string;
  /** Undefined: all groups. */
  readonly group: number | undefined;
  /** Name of the node that is to lead; empty: whichever is best placed. */
  readonly to: string;
}

export interface TransferResult {
  readonly handedOver: number;
  readonly kept: number;
}

export interface LeaderTransferOptions {
  readonly host: GroupHost;
  readonly members: ClusterMembers;
  readonly clock: Clock;
  readonly transport: Transport | undefined;
  readonly addressOf: (member: ClusterMember) => string;
}

export class LeaderTransfer {
  readonly #options: LeaderTransferOptions;

  constructor(options: LeaderTransferOptions) {
    this.#options = options;
  }

  /** Here, or on the node that is meant. Errors: see `TransferLeaders`. */
  async run(transfer: Transfer): Promise<TransferResult> {
    const { host, members } = this.#options;
    const member = knownMember(members.current, transfer.name);
    if (transfer.to !== '') knownMember(members.current, transfer.to, 'to');
    if (transfer.to !== '' && transfer.group === undefined)
      throw refused('to', 'to whom is said for one group at a time: name it.', transfer.to);
    if (member.id !== host.self) return this.#elsewhere(member, transfer);
    return transfer.group === undefined ? this.#all() : this.#one(transfer.group, transfer);
  }

  async #all(): Promise<TransferResult> {
    const { host } = this.#options;
    const led = host.leaderships.ledBy(host.self);
    await host.leaderships.rest(REST_MS, () => host.failure !== undefined);
    const kept = host.leaderships.ledBy(host.self);
    return { handedOver: Math.max(0, led - kept), kept };
  }

  async #one(group: number, { name, to }: Transfer): Promise<TransferResult> {
    const { host, clock } = this.#options;
    if (!host.isLeader(group)) throw refused('group', `${name} does not lead group ${group}.`, String(group));
    const voters = host.replica(group)!.core.configuration.voters.filter((voter) => voter !== host.self);
    const wanted = to === '' ? voters : voters.filter((voter) => host.memberName(voter) === to);
    const fit = wanted.find((voter) => host.leaderships.mayTakeOver(group, voter, MOST_LACKING));
    if (fit === undefined) {
      const names = voters.map((voter) => host.memberName(voter)).join(', ');
      const who = to === '' ? 'no other voter' : to;
      const message = `${who} cannot take group ${group} over now: it must vote in it, answer and have its log. Its other voters: ${names || 'none'}.`;
      throw refused('to', message, to);
    }
    host.transferLeader(group, fit);
    const endMs = clock.monotonicMs() + HAND_OVER_MS;
    while (host.isLeader(group) && clock.monotonicMs() < endMs) await sleep(clock, LOOK_MS);
    return host.isLeader(group) ? { handedOver: 0, kept: 1 } : { handedOver: 1, kept: 0 };
  }

  /** One hop: whoever is asked is the one that is meant. */
  async #elsewhere(member: ClusterMember, { name, group, to }: Transfer): Promise<TransferResult> {
    const { transport, addressOf } = this.#options;
    const request = create(TransferLeadersRequestSchema, { name, to });
    if (group !== undefined) request.group = BigInt(group);
    const method = ClusterService.method.transferLeaders;
    if (transport === undefined) throw unreachable(member);
    const options = { timeoutMs: CALL_MS };
    const answer: TransferLeadersResponse = await transport.unary(
      addressOf(member),
      method,
      request,
      options,
    );
    return answer;
  }
}

function unreachable({ name }: ClusterMember): HoldfastError {
  return new HoldfastError({ reason: 'UNAVAILABLE', message: `${name} cannot be reached from here.` });
}
