/** Asking a node who it is. */
import { create } from '@bufbuild/protobuf';
import type { Transport } from '@holdfast/client/transport';
import {
  BootstrapService,
  IntroduceRequestSchema,
  type IntroduceResponse,
  type Membership as MembershipMessage,
} from '@holdfast/proto/raft/v1/bootstrap';
import { tableOf } from './member-codec.ts';
import { isMembership, type Introduction, type Membership } from './membership.ts';

/** A node that has not answered by then does not answer. */
const ANSWER_MS = 1_000;

/** What the node at an address says of itself; undefined: it does not answer, or says what cannot be true. */
export async function askIntroduction(
  transport: Transport,
  address: string,
  from: string,
  signal?: AbortSignal,
): Promise<Introduction | undefined> {
  const request = create(IntroduceRequestSchema, { from });
  const options = { timeoutMs: ANSWER_MS, signal };
  try {
    return introductionOf(
      await transport.unary(address, BootstrapService.method.introduce, request, options),
    );
  } catch {
    return undefined;
  }
}

/** Undefined: what cannot be true, such as a cluster that its own teller does not belong to. */
function introductionOf(answer: IntroduceResponse): Introduction | undefined {
  const { name, nodeId, cluster, nodes, endpoints, membership } = answer;
  const self = { name, nodeId, cluster, nodes, grpc: endpoints?.grpc ?? '', http: endpoints?.http ?? '' };
  if (membership === undefined) return { ...self, membership };
  const told = membershipOfMessage(membership);
  const isMember = told?.members.some((member) => member.name === name && member.nodeId === nodeId);
  return isMember === true ? { ...self, membership: told } : undefined;
}

/** Undefined: it cannot be one. */
export function membershipOfMessage(message: MembershipMessage | undefined): Membership | undefined {
  if (message?.table === undefined) return undefined;
  const { clusterId, founders, table } = message;
  const told = { ...tableOf(table), clusterId, founders };
  return isMembership(told) ? told : undefined;
}
