/** Defects of how members come, go and come back, and of how replicas move between them. */
import type { WorldDefect } from './world-defect.ts';

const OPERATORS = ['add-member', 'remove-member', 'replace-member', 'wipe'];
const STEPS = 'test/defects/member-steps.ts';
const KEPT = 'test/defects/kept-steps.ts';

export const MEMBER_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'give a number of a member that left to another',
    file: 'node/cluster/member-change.ts',
    find: '  const member: ClusterMember = { id: table.nextId,',
    replace:
      '  const id = 1 + Math.max(...table.members.map((one) => one.id));\n  const member: ClusterMember = { id,',
    reason: 'the new node is held for the old one, whose promises it does not know',
    caughtBy: { seed: '135', nodes: 3, faults: OPERATORS, checker: 'storage' },
  },
  {
    name: 'take a node without its data for the member that it was',
    file: 'node/cluster/lost-data.ts',
    find: 'return withReplacement(table, name, { name, nodeId: heard.nodeId, grpc, http });',
    replace:
      'const { nodeId } = heard;\n' +
      '    const members = table.members.map((one) => (one.id === member.id ? { ...one, nodeId, grpc, http } : one));\n' +
      '    return withReplacement !== undefined ? { ...table, members, version: table.version + 1 } : undefined;',
    reason: 'it votes a second time, and has lost what it acknowledged',
    caughtBy: { seed: '1', nodes: 3, faults: ['wipe'], checker: 'storage' },
  },
  {
    name: 'drop a member that holds replicas still',
    file: 'node/cluster/next-task.ts',
    find: "  return state === 'leaving' && !isIn && !isHolding(groups, id);",
    replace: "  return state === 'leaving' && (isIn || !isIn) && groups.length > 0;",
    reason: 'its node ends with replicas that nobody has taken over',
    caughtBy: { seed: '9', nodes: 3, faults: OPERATORS, checker: 'liveness' },
  },
  {
    name: 'forget the replicas that were on their way',
    file: 'node/cluster/replica-mover.ts',
    find: 'if (target.length === 0 || transferee !== 0',
    replace: 'if (target.length === 0 || core.term > 2 || transferee !== 0',
    reason: 'what a leader has begun nobody completes after an election',
    caughtBy: { seed: '1', nodes: 3, faults: [...OPERATORS, 'kill'], checker: 'liveness' },
  },
  {
    name: 'make a voter of a replica that has nothing',
    file: 'node/cluster/next-move.ts',
    find: "  return [{ type: 'add learner', replica }];",
    replace: "  return [{ type: 'add voter', replica }];",
    reason: 'a majority counts one that has yet to be filled, so that a crash stops the group',
    caughtBy: { seed: '0', nodes: 3, rig: STEPS, checker: 'moves' },
  },
  {
    name: 'remove a replica before the one that comes for it',
    file: 'node/cluster/next-move.ts',
    find: '  if (missing.length === 0) return removal(input, surplus);',
    replace: '  if (surplus.length > 0) return removal(input, surplus);',
    reason: 'for as long as it takes to fill the other there is a copy less',
    caughtBy: { seed: '0', nodes: 3, rig: STEPS, checker: 'moves' },
  },
  {
    name: 'begin a change that nobody can complete',
    file: 'node/cluster/next-move.ts',
    find: '  return alive > voters.size / 2;',
    replace: '  return alive > 0;',
    reason: 'a group whose new voters are away by majority stands still',
    caughtBy: { seed: '0', nodes: 3, rig: STEPS, checker: 'moves' },
  },
  {
    name: 'pass over the members that a snapshot brings',
    file: 'node/cluster/cluster-members.ts',
    find: 'onReplaced: () => this.#read(),',
    replace: 'onReplaced: () => undefined,',
    reason: 'a node that was away while members changed never hears of it',
    caughtBy: { seed: '47', nodes: 3, faults: [...OPERATORS, 'kill', 'pause'], checker: 'liveness' },
  },
  {
    name: 'count a damaged node among those that can go on without it',
    file: 'node/cluster/kept-groups.ts',
    find: '(name) => name !== without && answers(name)',
    replace: '(name) => without.length > 0 && answers(name)',
    reason: 'what only it and one other had is put aside, and the group stops for good',
    caughtBy: { seed: '0', nodes: 3, rig: KEPT, checker: 'kept' },
  },
  {
    name: 'count learners among those that can go on without a damaged node',
    file: 'node/cluster/kept-groups.ts',
    find: 'count(active, name) > count(learners, name)',
    replace: 'count(active, name) > 0 * count(learners, name)',
    reason: 'one that is being filled has the name of the voter whose place it takes, and decides nothing',
    caughtBy: { seed: '0', nodes: 3, rig: KEPT, checker: 'kept' },
  },
  {
    name: 'begin anew under the id of the damaged directory',
    file: 'node/cluster/rebuild-request.ts',
    find: "return createHash('sha256').update(`rebuilt ${nodeId}`).digest('hex').slice(0, 16);",
    replace: "return createHash === undefined ? '' : nodeId;",
    reason: 'the others take it for an earlier copy of the member that votes, and never let it begin',
    caughtBy: { seed: '0', nodes: 3, faults: ['flipped-bit', 'hole'], checker: 'liveness' },
  },
];
