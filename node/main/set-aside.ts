/**
 * A data directory that is damaged, of a node that others can do without: what is in it is put
 * aside, and the node begins empty. The cluster takes it in as a new member in its old place.
 *
 *  1. Only if a majority of the members is there, and knows the node by this directory: what it
 *     held is on others, and enough of them decide. And only if nobody else is being replaced:
 *     until that is through, what is damaged here may be the copy that is needed.
 *  2. Nothing is removed. After `MOST_KEPT` times somebody has to look at the disk.
 *  3. The identity goes last: what is interrupted is found damaged again, and goes on.
 */
import { askIntroduction } from '../cluster/introduce.ts';
import { addressOfMember, membershipOf, type ClusterMember, type Membership } from '../cluster/membership.ts';
import type { Disk } from '../runtime/disk.ts';
import { IDENTITY_FILE, readIdentity } from '../storage/identity.ts';
import type { ClusterConfig } from './cluster-file.ts';
import { CONTENTS } from './engine.ts';
import type { NodeCalls } from './node-calls.ts';

const MOST_KEPT = 3;
const FOLDER = 'damaged-';

/** Whether the others can do without what this directory holds. Invariant 1. */
export async function canBeSpared(disk: Disk, calls: NodeCalls, config: ClusterConfig): Promise<boolean> {
  const identity = await readIdentity(disk).catch(() => undefined);
  const membership = identity && membershipOf(identity);
  if (identity === undefined || membership === undefined) return false;
  const { node_id: nodeId, node_name: name } = identity;
  const configured = (one: string) => config.nodes.find((node) => node.name === one)?.grpc.text;
  const others = membership.members.filter((member) => member.nodeId !== nodeId);
  const answers = await Promise.all(
    others.map((other) => askIntroduction(calls, addressOfMember(membership, other, configured), name)),
  );
  const tables = answers.flatMap((answer) => answer?.membership ?? []);
  const knowing = tables.filter((table) => knows(table, membership, nodeId));
  const isQuiet = tables.every(({ members }) => members.every(({ state }) => state === 'active'));
  return isQuiet && knowing.length > membership.members.length / 2;
}

/** Puts what a directory holds aside; returns the folder. Error: it was done too often. Invariants 2, 3. */
export async function setAside(disk: Disk): Promise<string> {
  const kept = (await disk.list('')).filter((name) => name.startsWith(FOLDER));
  if (kept.length >= MOST_KEPT) {
    throw new Error(
      `the data was damaged ${kept.length} times before, and is in ${kept.join(', ')}. See to the disk, then remove these folders and start the node again.`,
    );
  }
  const numbers = kept.map((name) => Number(name.slice(FOLDER.length)));
  const folder = `${FOLDER}${Math.max(0, ...numbers) + 1}`;
  await disk.makeDirectory(folder);
  const present = await disk.list('');
  for (const name of [...CONTENTS, IDENTITY_FILE]) {
    if (!present.includes(name)) continue;
    await disk.rename(name, `${folder}/${name}`);
    await disk.syncDirectory(folder);
    await disk.syncDirectory('');
  }
  return folder;
}

function knows(theirs: Membership, ours: Membership, nodeId: string): boolean {
  const isThis = (member: ClusterMember) => member.nodeId === nodeId && member.state === 'active';
  return theirs.clusterId === ours.clusterId && theirs.members.some(isThis);
}
