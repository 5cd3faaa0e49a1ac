/**
 * Changes of members as operators ask for them, on any node: looked at against the newest table,
 * asked of the nodes concerned, and committed by compare-and-set. The rest is the planner's.
 */
import { HoldfastError } from '@holdfast/client/error';
import type { Transport } from '@holdfast/client/transport';
import type { GroupHost } from '../raft/group-host.ts';
import { COORDINATION_GROUP } from '../raft/members.ts';
import { awaitRead } from '../raft/propose.ts';
import type { ClusterMembers } from './cluster-members.ts';
import type { ClusterTree } from './cluster-tree.ts';
import type { GroupPlacements } from './group-placements.ts';
import { askIntroduction } from './introduce.ts';
import {
  knownMember,
  refused,
  withCandidate,
  withReplacement,
  withoutMember,
  type Candidate,
} from './member-change.ts';
import { memberNamed, type ClusterMember, type MemberTable } from './membership.ts';
import { heldGroups, isMoving, type FirstPlacement } from './placed-groups.ts';
import { tableChange } from './planner.ts';

/** Compare-and-sets that may be lost against others, one after the other. */
const ATTEMPTS = 20;
const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** A node to be taken in, as it was named. */
export interface NamedNode {
  readonly name: string;
  readonly grpc: string;
  readonly http: string;
}

/** A member, and how it fares. */
export interface MemberState {
  readonly member: ClusterMember;
  readonly isAlive: boolean;
  /** Groups of which it is to hold a replica. */
  readonly replicas: number;
}

export interface MemberChangesOptions {
  readonly self: string;
  readonly cluster: string | undefined;
  readonly host: GroupHost;
  readonly tree: ClusterTree;
  readonly members: ClusterMembers;
  readonly placements: GroupPlacements;
  readonly groups: () => readonly FirstPlacement[];
  /** Undefined: no other node can be asked. */
  readonly transport: Transport | undefined;
  /** Where a member is reached. */
  readonly addressOf: (member: ClusterMember) => string;
  /** What is wrong with an address; undefined: nothing. */
  readonly addressProblem: (address: string) => string | undefined;
}

export class MemberChanges {
  readonly #options: MemberChangesOptions;

  constructor(options: MemberChangesOptions) {
    this.#options = options;
  }

  /** The members as committed. Error: NOT_LEADER. */
  async list(): Promise<{ members: MemberState[]; movingGroups: number }> {
    const { table } = await this.#newest();
    const { groups, placements } = this.#options;
    const held = heldGroups(groups(), placements);
    const members = await Promise.all(
      table.members.map(async (member) => ({
        member,
        isAlive: await this.#isAlive(member),
        replicas: held.filter(({ target }) => target.includes(member.id)).length,
      })),
    );
    return { members, movingGroups: held.filter(isMoving).length };
  }

  /** Errors: see `AddMember`. */
  async add(node: NamedNode): Promise<ClusterMember> {
    checkNode(node, this.#options.addressProblem);
    const next = await this.change(async (table) => {
      const known = memberNamed(table, node.name);
      const candidate = await this.#introduced(node, known);
      if (known?.nodeId === candidate.nodeId) return table;
      return withCandidate(table, candidate);
    });
    return memberNamed(next, node.name)!;
  }

  /** Errors: see `RemoveMember`. */
  async remove(name: string, mayKeepFewer: boolean): Promise<void> {
    await this.change(async (table) => {
      const next = withoutMember(table, name);
      const { state } = knownMember(table, name);
      if (state !== 'active') return next;
      await this.#checkRest(table, name);
      if (!mayKeepFewer) this.#checkCopies(table, name);
      return next;
    });
  }

  /** Errors: see `ReplaceMember`. */
  async replace(oldName: string, node: NamedNode): Promise<ClusterMember> {
    checkNode(node, this.#options.addressProblem);
    const after = await this.change(async (table) => {
      const known = memberNamed(table, node.name);
      const candidate = await this.#introduced(node, known);
      if (known?.nodeId === candidate.nodeId) return table;
      const old = knownMember(table, oldName, 'old_name');
      if (await this.#isAlive(old)) {
        const message =
          `${oldName} answers, and a node is replaced only when it is gone. ` +
          `Add ${node.name} and remove ${oldName}, or stop ${oldName} for good and try again.`;
        throw refused('old_name', message, oldName);
      }
      const next = withReplacement(table, oldName, candidate);
      await this.#checkMajority(table, oldName);
      return next;
    });
    return memberNamed(after, node.name)!;
  }

  /** Commits what `change` makes of the newest table, and returns it; the same table: nothing is to be committed. */
  async change(change: (table: MemberTable) => Promise<MemberTable>): Promise<MemberTable> {
    const { tree } = this.#options;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { table, modRevision } = await this.#newest();
      const next = await change(table);
      if (next !== table) {
        const { succeeded } = await tree.transact(tableChange(next, modRevision), true);
        if (!succeeded) continue;
      }
      return next;
    }
    throw new HoldfastError({
      reason: 'OVERLOADED',
      message: 'the members are being changed by others. Nothing was changed; try again.',
      outcome: 'NOT_APPLIED',
      retryAfterMs: 500,
    });
  }

  /** As committed when this was called. */
  async #newest(): Promise<{ table: MemberTable; modRevision: number }> {
    const { host, members } = this.#options;
    try {
      if (!host.canReadNow(COORDINATION_GROUP)) await awaitRead(host, COORDINATION_GROUP);
    } catch (error) {
      throw error instanceof HoldfastError ? (error as HoldfastError).withOutcome('NOT_APPLIED') : error;
    }
    const { written } = members;
    if (written !== undefined) return written;
    throw new HoldfastError({
      reason: 'STARTING',
      message: 'the cluster has only begun. Nothing was changed; try again.',
      outcome: 'NOT_APPLIED',
      retryAfterMs: 500,
    });
  }

  /** What a node that is to be taken in says of itself; `known`: the member of its name, if there is one. */
  async #introduced(node: NamedNode, known: ClusterMember | undefined): Promise<Candidate> {
    const { transport, self, members, cluster } = this.#options;
    const { name, grpc, http } = node;
    const heard = transport && (await askIntroduction(transport, grpc, self));
    if (heard === undefined) {
      const message = `no node answers at ${grpc}. Start ${name} with a cluster.yaml that names it and a member of this cluster, then try again.`;
      throw refused('endpoints.grpc', message, grpc);
    }
    if (heard.name !== name)
      throw refused('name', `the node at ${grpc} is ${heard.name}, not ${name}.`, name);
    const { membership } = heard;
    if (membership === undefined && cluster !== undefined && heard.cluster !== cluster) {
      const message = `the cluster.yaml of ${name} is for the cluster "${heard.cluster}", this one is "${cluster}". Correct it and start ${name} again.`;
      throw refused('name', message, name);
    }
    if (membership !== undefined && known?.nodeId !== heard.nodeId) {
      const isOurs = membership.clusterId === members.current.clusterId;
      const message = isOurs
        ? `the data directory of ${name} was a member of this cluster before, and a member never comes back as it was.`
        : `the data directory of ${name} belongs to another cluster (${membership.clusterId}).`;
      throw refused('name', `${message} Stop ${name}, move its directory away and start it again.`, name);
    }
    return { name, nodeId: heard.nodeId, grpc, http };
  }

  /** Whether the node that has a member's data answers. */
  async #isAlive(member: ClusterMember): Promise<boolean> {
    const { host, transport, addressOf, self } = this.#options;
    if (member.id === host.self) return true;
    if (transport === undefined) return false;
    const heard = await askIntroduction(transport, addressOf(member), self);
    return heard?.nodeId === member.nodeId;
  }

  /** Without the member a majority of the others has to be there, or nothing could be decided any more. */
  async #checkMajority({ members }: MemberTable, name: string): Promise<void> {
    const rest = members.filter((member) => member.name !== name);
    const alive = await Promise.all(rest.map((member) => this.#isAlive(member)));
    const count = alive.filter((isAlive) => isAlive).length;
    if (count > rest.length / 2) return;
    const away = rest.filter((_, at) => !alive[at]).map((member) => member.name);
    const message = `without ${name} there would be ${rest.length} members, of which ${count} answer: no majority. Start ${away.join(', ')} first.`;
    throw refused('name', message, name);
  }

  /** What leaves needs somebody to take its replicas; a member that is away would be waited for without end. */
  async #checkRest({ members }: MemberTable, name: string): Promise<void> {
    const rest = members.filter((member) => member.name !== name);
    const alive = await Promise.all(rest.map((member) => this.#isAlive(member)));
    const away = rest.filter((_, at) => !alive[at]).map((member) => member.name);
    if (away.length === 0) return;
    const message = `${away.join(', ')} cannot be reached, and what ${name} holds has to go to the others. Start or replace ${away.join(', ')} first.`;
    throw refused('name', message, name);
  }

  #checkCopies({ members }: MemberTable, name: string): void {
    const before = members.length;
    const after = before - 1;
    const most = Math.max(0, ...this.#options.groups().map(({ replication }) => replication));
    if (Math.min(most, after) === Math.min(most, before)) return;
    const message =
      `without ${name} there would be ${after} members, and there are keyspaces of ${most} copies, which would keep ` +
      `${Math.min(most, after)} instead of ${Math.min(most, before)}. Add a node first, replace ${name}, or allow fewer copies.`;
    throw refused('allow_fewer_copies', message, name);
  }
}

function checkNode(
  { name, grpc, http }: NamedNode,
  problemOf: (address: string) => string | undefined,
): void {
  if (!NAME.test(name)) throw invalid('name', name, `must be ${NAME.source.slice(1, -1)}, such as n4`);
  for (const [field, address] of [
    ['endpoints.grpc', grpc],
    ['endpoints.http', http],
  ] as const) {
    const problem = problemOf(address);
    if (problem !== undefined) throw invalid(field, address, problem);
  }
  if (grpc === http) throw invalid('endpoints.http', http, 'must be another address than that of gRPC');
}

function invalid(field: string, actual: string, allowed: string): HoldfastError {
  const message = `${field} is "${actual.slice(0, 100)}": ${allowed}. Nothing was changed.`;
  return new HoldfastError({ reason: 'INVALID_FIELD', field, actual, message, outcome: 'NOT_APPLIED' });
}
