/** What a node does with a directory whose data is damaged: the others have to go on without it, then it begins anew. */
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import type { Transport } from '@holdfast/client/transport';
import { addressOfMember, membershipOf, withMembership } from '../cluster/membership.ts';
import { rebuiltNodeId, requestRebuild, whoCanGrant } from '../cluster/rebuild-request.ts';
import type { Disk } from '../runtime/disk.ts';
import { newIdentity, type Identity } from '../storage/identity.ts';
import { beginAnew } from '../storage/rebuilt-directory.ts';

export interface GivenUpOptions {
  readonly identity: Identity;
  readonly disk: Disk;
  readonly random: Random;
  readonly clock: Clock;
  readonly transport: Transport;
  /** Where a node is by cluster.yaml. */
  readonly configured: (name: string) => string | undefined;
  readonly signal: AbortSignal;
  /** Told once for each new reason why it has to wait. */
  readonly onWaiting: (why: string) => void;
}

/**
 * Waits until the others go on without what a directory holds, and writes down what it is to
 * begin anew as; the next start does the rest. Undefined: there is nobody who could.
 */
export async function givenUp(options: GivenUpOptions): Promise<Identity | undefined> {
  const { identity, disk, random, configured } = options;
  const { node_id: nodeId, node_name: name } = identity;
  const membership = membershipOf(identity);
  if (membership === undefined || whoCanGrant(membership, nodeId).length === 0) return undefined;
  const addressOf = (member: (typeof membership.members)[number]) =>
    addressOfMember(membership, member, configured);
  const told = await requestRebuild({ ...options, membership, nodeId, addressOf });
  const fresh = { ...newIdentity(random, name), node_id: rebuiltNodeId(nodeId), rebuilt_from: nodeId };
  const next = withMembership(fresh, told);
  await beginAnew(disk, next);
  return next;
}
