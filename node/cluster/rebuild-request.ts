/** A node whose data is damaged asks the other members to go on without it, until one of them says that they do. */
import { create } from '@bufbuild/protobuf';
import { createHash } from 'node:crypto';
import { sleep, type Clock } from '@holdfast/client/clock';
import type { HoldfastError } from '@holdfast/client/error';
import type { Transport } from '@holdfast/client/transport';
import { BootstrapService, RequestRebuildRequestSchema } from '@holdfast/proto/raft/v1/bootstrap';
import { membershipOfMessage } from './introduce.ts';
import type { ClusterMember, Membership } from './membership.ts';

/** Between two rounds. */
const ASK_EVERY_MS = 1_000;
/** What whoever grants it does in that time: asks every node, and commits. */
const ANSWER_MS = 10_000;

export interface RebuildRequestOptions {
  /** What the damaged directory says. */
  readonly membership: Membership;
  readonly nodeId: string;
  readonly transport: Transport;
  readonly addressOf: (member: ClusterMember) => string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Told once for each new reason why it has to wait. */
  readonly onWaiting: (why: string) => void;
}

/**
 * The id of the directory that takes the place of a damaged one. It follows from that, so a
 * node that ends before it has written it down asks for the same once more.
 */
export function rebuiltNodeId(nodeId: string): string {
  return createHash('sha256').update(`rebuilt ${nodeId}`).digest('hex').slice(0, 16);
}

/** Members that can have a node's data given up: all but that node. */
export function whoCanGrant({ members }: Membership, nodeId: string): ClusterMember[] {
  const own = members.find((member) => member.nodeId === nodeId);
  return members.filter(({ name }) => name !== own?.name);
}

/** The cluster with the node as a new member in it. Rejects with the reason of `signal`. */
export async function requestRebuild(options: RebuildRequestOptions): Promise<Membership> {
  const { membership, nodeId, clock, signal, onWaiting } = options;
  const others = whoCanGrant(membership, nodeId);
  for (let [told, before] = ['', '']; ;) {
    signal.throwIfAborted();
    let why = 'no other member answers';
    for (const member of others) {
      const answer = await ask(member, options);
      if (typeof answer !== 'string') return answer;
      if (answer !== '') why = answer;
    }
    // Which groups a refusal names changes from round to round while others are elected, or away.
    if (why !== told && (told === '' || why === before)) onWaiting((told = why));
    before = why;
    await sleep(clock, ASK_EVERY_MS, signal);
  }
}

/** What a member says; empty: nothing of interest. */
async function ask(member: ClusterMember, options: RebuildRequestOptions): Promise<Membership | string> {
  const { membership, nodeId, transport, addressOf, signal } = options;
  const { clusterId } = membership;
  const request = create(RequestRebuildRequestSchema, {
    clusterId,
    nodeId,
    newNodeId: rebuiltNodeId(nodeId),
  });
  const method = BootstrapService.method.requestRebuild;
  try {
    const answer = await transport.unary(addressOf(member), method, request, {
      timeoutMs: ANSWER_MS,
      signal,
    });
    return membershipOfMessage(answer.membership) ?? `${member.name} answers what cannot be true`;
  } catch (error) {
    const { reason, message } = error as HoldfastError;
    return reason?.startsWith('MEMBER_') ? message : '';
  }
}
