/**
 * Has members given up whose data is damaged, when they ask for it: such a node puts its data
 * aside and comes back empty, as a new member in its own place.
 *
 *  1. Only while each group of which it holds a replica is led, and a majority of its voters
 *     answers, without it: nothing that was acknowledged can then be on this node alone.
 *  2. One at a time: the next is granted when the one before votes, so that two who are damaged
 *     are not both counted as what the other can be rebuilt from.
 *  3. Only if what answers at the member's own address says so: its directory, and that the data
 *     in it is damaged. Anybody can ask, as a damaged node has nothing left to prove who it is.
 *  4. Asked again, it is answered as before: the answer may have been lost. Not once the new
 *     directory votes: what asks then is an earlier copy, and would forget what that one promised.
 */
import { create } from '@bufbuild/protobuf';
import type { Transport } from '@holdfast/client/transport';
import {
  ClusterService,
  GetStatusRequestSchema,
  NodeState,
  type NodeStatus,
} from '@holdfast/proto/cluster/v1/cluster';
import type { ClusterMembers } from './cluster-members.ts';
import type { GroupPlacements } from './group-placements.ts';
import { groupsKeptWithout, groupsWith } from './kept-groups.ts';
import { knownMember, refused, refusedUnknown, withReplacement } from './member-change.ts';
import type { MemberChanges } from './member-changes.ts';
import type { ClusterMember, Membership, MemberTable } from './membership.ts';
import { heldGroups, type FirstPlacement } from './placed-groups.ts';

/** A node that has not answered by then is not counted. */
const ANSWER_MS = 2_000;
/** Groups that a refusal names. */
const NAMED = 5;

/** Who asks, by the ids of directories. */
export interface RebuildRequest {
  readonly clusterId: string;
  readonly nodeId: string;
  readonly newNodeId: string;
}

export interface RebuildGrantsOptions {
  readonly changes: MemberChanges;
  readonly members: ClusterMembers;
  readonly placements: GroupPlacements;
  readonly groups: () => readonly FirstPlacement[];
  readonly transport: Transport | undefined;
  readonly addressOf: (member: ClusterMember) => string;
}

export class RebuildGrants {
  readonly #options: RebuildGrantsOptions;

  constructor(options: RebuildGrantsOptions) {
    this.#options = options;
  }

  /** Errors: see `RequestRebuild`. */
  async grant({ clusterId, nodeId, newNodeId }: RebuildRequest): Promise<Membership> {
    const { changes, members } = this.#options;
    const { clusterId: ownId, founders } = members.current;
    if (clusterId !== ownId)
      throw refused(
        'cluster_id',
        `the data belongs to the cluster ${clusterId}, this is ${ownId}.`,
        clusterId,
      );
    const table = await changes.change(async (before) => {
      if (isGranted(before, newNodeId)) return before;
      const old = knownByDirectory(before, nodeId);
      const { name, grpc, http } = old;
      const next = withReplacement(before, name, { name, nodeId: newNodeId, grpc, http });
      await this.#checkDamaged(old);
      await this.#checkKept(before, old);
      return next;
    });
    return { ...table, clusterId, founders };
  }

  /** Invariant 3. */
  async #checkDamaged(member: ClusterMember): Promise<void> {
    const [status] = await this.#status(member);
    if (status?.state === NodeState.DAMAGED) return;
    const { name } = member;
    const what =
      status === undefined
        ? `what answers at the address of ${name}, if anything does, is not that directory`
        : `${name} does not say that its data is damaged`;
    const message =
      `${what}: it is not given up. A damaged node has to be reached by the others at the address that they know (\`holdfast cluster status\`); ` +
      `to take the place of one that is lost, use \`holdfast cluster replace ${name}\`.`;
    throw refused('node_id', message, member.nodeId);
  }

  /** Invariant 1. */
  async #checkKept(table: MemberTable, { id, name }: ClusterMember): Promise<void> {
    const { groups, placements } = this.#options;
    const others = table.members.filter((member) => member.name !== name);
    const nodes = (await Promise.all(others.map((member) => this.#status(member)))).flat();
    const held = heldGroups(groups(), placements)
      .filter(({ target, holders }) => target.includes(id) || holders.includes(id))
      .map(({ group }) => group);
    const kept = groupsKeptWithout(name, nodes);
    const concerned = new Set([0, ...held, ...groupsWith(name, nodes)]);
    const lost = [...concerned].filter((group) => !kept.has(group));
    if (lost.length === 0) return;
    const shown = `${lost.slice(0, NAMED).join(', ')}${lost.length > NAMED ? ` and ${lost.length - NAMED} more` : ''}`;
    const message =
      `without ${name} no majority of the replicas of group ${shown} answers, so what ${name} holds of it may be nowhere else. ` +
      `Start the other nodes that hold it (\`holdfast cluster status\`); if they are lost as well, restore the directory of ${name} from a copy, or a backup.`;
    throw refused('node_id', message, name);
  }

  async #status(member: ClusterMember): Promise<NodeStatus[]> {
    const { transport, addressOf } = this.#options;
    if (transport === undefined) return [];
    const request = create(GetStatusRequestSchema);
    const options = { timeoutMs: ANSWER_MS };
    try {
      const answer = await transport.unary(
        addressOf(member),
        ClusterService.method.getStatus,
        request,
        options,
      );
      // The first is the node itself; of the others it only says where they are.
      return answer.nodes.slice(0, 1).filter(({ nodeId }) => nodeId === member.nodeId);
    } catch {
      return [];
    }
  }
}

/** Invariant 4. Error: MEMBER_CHANGE_REFUSED. */
function isGranted({ members }: MemberTable, newNodeId: string): boolean {
  const next = members.find((member) => member.nodeId === newNodeId);
  if (next === undefined || next.state === 'joining') return next !== undefined;
  const message =
    `${next.name} has come back with the directory ${newNodeId} already, and this is what it had before. ` +
    'Start it with that one; if it is lost, move this one away and start the node again: it then begins empty.';
  throw refused('new_node_id', message, newNodeId);
}

/** The member whose data is in a directory. */
function knownByDirectory(table: MemberTable, nodeId: string): ClusterMember {
  const member = table.members.find((one) => one.nodeId === nodeId);
  if (member === undefined) throw refusedUnknown('node_id', `with the directory ${nodeId}`, table, nodeId);
  if (member.state === 'leaving') {
    const message = `${member.name} leaves the cluster: what it held goes to the others without it.`;
    throw refused('node_id', message, nodeId);
  }
  return knownMember(table, member.name);
}
