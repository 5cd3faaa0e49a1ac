/**
 * The changes that members go through, each from one table to the next. Pure. What a change
 * begins, `nextTask` of the planner carries through.
 *
 *  1. A number is given once: `nextId` only grows.
 *  2. One member joins at a time, and one leaves; a second one only if it is gone and replaced.
 *  3. What is refused changes nothing, and says what to do.
 */
import { HoldfastError } from '@holdfast/client/error';
import type { Reason } from '@holdfast/client/reasons';
import { memberNamed, type ClusterMember, type MemberTable } from './membership.ts';

/** With more, every commit of group 0 would wait for more disks, and no more failures be survived. */
export const MAX_MEMBERS = 7;

/** A node that is to be a member. */
export type Candidate = Pick<ClusterMember, 'name' | 'nodeId' | 'grpc' | 'http'>;

/** Takes in a node. Errors: MEMBER_EXISTS, MEMBER_CHANGE_RUNNING, MEMBER_CHANGE_REFUSED. */
export function withCandidate(table: MemberTable, candidate: Candidate): MemberTable {
  checkQuiet(table);
  checkFree(table, candidate);
  if (table.members.length >= MAX_MEMBERS) {
    throw refused(
      'name',
      `the cluster has ${table.members.length} members, at most ${MAX_MEMBERS} are served. Remove one first, or replace one.`,
      candidate.name,
      String(MAX_MEMBERS),
    );
  }
  return joined(table, candidate, 0);
}

/**
 * Begins to let a member go. One that has only begun to join goes at once, and whose place it
 * was to take stays. Errors: as above, MEMBER_UNKNOWN.
 */
export function withoutMember(table: MemberTable, name: string): MemberTable {
  const member = knownMember(table, name);
  if (member.state === 'leaving') return table;
  if (member.state === 'active') checkQuiet(table);
  if (table.members.length === 1) {
    throw refused(
      'name',
      `${name} is the last member: without it there is no cluster. To give the cluster up stop the node and remove its directory.`,
      name,
    );
  }
  return changed(table, (one) => {
    if (one.id === member.id) return { ...one, state: 'leaving' };
    return member.state === 'joining' && one.id === member.replaces ? { ...one, state: 'active' } : one;
  });
}

/** Takes in a node in place of a member, which leaves. Errors: as above. */
export function withReplacement(table: MemberTable, oldName: string, candidate: Candidate): MemberTable {
  const old = knownMember(table, oldName, 'old_name');
  // Whoever leaves may wait for the one that is gone, and one that joins would never have joined.
  const isConcerned = ({ id, state }: ClusterMember) => state !== 'leaving' && id !== old.id;
  checkQuiet({ ...table, members: table.members.filter(isConcerned) });
  // One that loses its data twice is still leaving under its first number.
  const isBefore = ({ name, state }: ClusterMember) => state === 'leaving' && name === candidate.name;
  const others = table.members.filter((member) => member.id !== old.id && !isBefore(member));
  checkFree({ ...table, members: others }, candidate);
  const leaving = changed(table, (one) => (one.id === old.id ? { ...one, state: 'leaving' } : one));
  return { ...joined(leaving, candidate, old.id), version: table.version + 1 };
}

/** A member votes now. */
export function withActive(table: MemberTable, id: number): MemberTable {
  return changed(table, (one) => (one.id === id ? { ...one, state: 'active' } : one));
}

/** Nothing is left on a member that leaves. */
export function withoutRow(table: MemberTable, id: number): MemberTable {
  const members = table.members.filter((one) => one.id !== id);
  return { ...table, members, version: table.version + 1 };
}

/** The member that a table has under a name. Error: MEMBER_UNKNOWN. */
export function knownMember(table: MemberTable, name: string, field = 'name'): ClusterMember {
  const member = memberNamed(table, name);
  if (member !== undefined) return member;
  throw refusedUnknown(field, `"${name}"`, table, name);
}

/** Nobody is what was asked for. */
export function refusedUnknown(
  field: string,
  what: string,
  { members }: MemberTable,
  actual: string,
): HoldfastError {
  const names = members.map((one) => one.name).join(', ');
  return refusal('MEMBER_UNKNOWN', field, `there is no member ${what}; the members are ${names}.`, actual);
}

/** A refusal of a change of members. */
export function refused(field: string, message: string, actual = '', limit = ''): HoldfastError {
  return refusal('MEMBER_CHANGE_REFUSED', field, message, actual, limit);
}

function refusal(reason: Reason, field: string, message: string, actual = '', limit = ''): HoldfastError {
  const text = `${message} Nothing was changed.`;
  return new HoldfastError({ reason, field, message: text, actual, limit, outcome: 'NOT_APPLIED' });
}

/** Invariant 2. */
function checkQuiet({ members }: MemberTable): void {
  const moving = members.find(({ state }) => state !== 'active');
  if (moving === undefined) return;
  throw new HoldfastError({
    reason: 'MEMBER_CHANGE_RUNNING',
    message: `${moving.name} is ${moving.state}: members change one at a time. Nothing was changed; wait until \`holdfast cluster members\` shows all of them active.`,
    outcome: 'NOT_APPLIED',
  });
}

function checkFree({ members }: MemberTable, { name, nodeId, grpc, http }: Candidate): void {
  const same = members.find((member) => member.name === name || member.nodeId === nodeId);
  if (same !== undefined) {
    const message = `there is a member "${same.name}" already. Give the new node another name, or replace that member.`;
    throw refusal('MEMBER_EXISTS', 'name', message, name);
  }
  const asked = [grpc, http].filter((address) => address !== '');
  const inUse = members.find((member) => asked.includes(member.grpc) || asked.includes(member.http));
  if (inUse === undefined) return;
  throw refused('endpoints', `${inUse.name} has one of these addresses. Give each node its own.`, grpc);
}

/** Invariant 1. */
function joined(table: MemberTable, candidate: Candidate, replaces: number): MemberTable {
  const { name, nodeId, grpc, http } = candidate;
  const member: ClusterMember = { id: table.nextId, name, nodeId, grpc, http, state: 'joining', replaces };
  return {
    version: table.version + 1,
    nextId: table.nextId + 1,
    members: [...table.members, member],
  };
}

function changed(table: MemberTable, change: (member: ClusterMember) => ClusterMember): MemberTable {
  return { ...table, members: table.members.map(change), version: table.version + 1 };
}
