/**
 * Which groups could lose a member, for drawn clusters of which some nodes are down, against a
 * plain count of voters: worlds never damage so many nodes that it would matter.
 */
import { create } from '@bufbuild/protobuf';
import { GroupRole, GroupStatusSchema, NodeStatusSchema } from '@holdfast/proto/cluster/v1/cluster';
import { groupsKeptWithout } from '../../node/cluster/kept-groups.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { CheckFailure } from '../raft/check-failure.ts';

const NAMES = ['n1', 'n2', 'n3', 'n4', 'n5'];
const PLAYS = 500;
const GROUPS = 6;

/** Throws when a group is taken for kept that is not, or the reverse. */
export async function play(): Promise<void> {
  const random = new SeededRandom('kept');
  let [kept, lost] = [0, 0];
  for (let each = 0; each < PLAYS; each++) {
    const some = (share: number) => NAMES.filter(() => random.chance(share));
    const up = some(0.75);
    const groups = Array.from({ length: GROUPS }, () => ({ voters: some(0.5), learners: some(0.2) }));
    // Whose place is taken is gone, and who takes it answers: a node that is up is not both.
    const isAway = (name: string, learners: readonly string[]) =>
      !up.includes(name) || learners.includes(name);
    const nodes = up.map((name) => create(NodeStatusSchema, { name }));
    groups.forEach(({ voters, learners }, group) => {
      const answering = voters.filter((name) => !isAway(name, learners));
      const leader = nodes.find(({ name }) => answering.includes(name));
      if (leader === undefined || answering.length <= voters.length / 2) return;
      const others = voters.filter((name) => name !== leader.name);
      leader.groups.push(
        create(GroupStatusSchema, {
          group: BigInt(group),
          role: GroupRole.LEADER,
          voters,
          learners,
          followers: [
            ...others.map((name) => ({ name, active: !isAway(name, learners) })),
            ...learners.map((name) => ({ name, active: up.includes(name) })),
          ],
        }),
      );
    });
    const damaged = NAMES[each % NAMES.length]!;
    const told = groupsKeptWithout(
      damaged,
      nodes.filter(({ name }) => name !== damaged),
    );
    groups.forEach(({ voters, learners }, group) => {
      const led = nodes.some(
        (node) => node.name !== damaged && node.groups.some((one) => Number(one.group) === group),
      );
      const rest = voters.filter((name) => name !== damaged && !isAway(name, learners));
      const isKept = led && rest.length > voters.length / 2;
      if (isKept) kept++;
      else lost++;
      if (told.has(group) !== isKept)
        throw new CheckFailure(
          'kept',
          `group ${group} of ${voters.join(', ')} without ${damaged}, up: ${up.join(', ')}`,
        );
    });
  }
  if (Math.min(kept, lost) < PLAYS / 2) throw new Error(`kept ${kept}, lost ${lost}: this says nothing`);
}
