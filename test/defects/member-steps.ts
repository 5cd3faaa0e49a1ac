/**
 * The steps by which a group's replicas move, played with drawn sets of nodes of which some are
 * away: in worlds a replica that votes too early, or a change that nobody completes, is as a
 * rule made up for before anybody notices.
 */
import { between } from '../../client/random.ts';
import { nextMove } from '../../node/cluster/next-move.ts';
import { applyChanges, leaveJoint, type Configuration } from '../../node/raft/core/configuration.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { CheckFailure } from '../raft/check-failure.ts';

const ALL = [1, 2, 3, 4, 5, 6, 7];
const PLAYS = 500;
const STEPS = 60;

/** Throws when a step is taken that must not be. */
export async function play(): Promise<void> {
  const random = new SeededRandom('steps');
  for (let each = 0; each < PLAYS; each++) playOne(random);
}

function playOne(random: SeededRandom): void {
  const some = () => ALL.filter(() => random.chance(0.5));
  const [before, target] = [some(), some()];
  if (before.length === 0 || target.length === 0) return;
  const away = new Set(ALL.filter(() => random.chance(0.15)));
  const isAlive = (id: number) => !away.has(id);
  let configuration: Configuration = { voters: before, outgoing: [], learners: [] };
  const caughtUp = new Set<number>();
  for (let step = 0; step < STEPS; step++) {
    if (configuration.outgoing.length > 0) {
      configuration = leaveJoint(configuration);
      continue;
    }
    for (const learner of configuration.learners) if (random.chance(0.3)) caughtUp.add(learner);
    const hasCaughtUp = (id: number) => caughtUp.has(id);
    const self = before.find(isAlive) ?? before[0]!;
    const move = nextMove({
      configuration,
      target,
      self,
      isAlive,
      hasCaughtUp,
      mayFill: between(random, 0, 1) > 0,
    });
    if (move === undefined) continue;
    const next = applyChanges(configuration, move);
    if (typeof next === 'string') throw new CheckFailure('moves', next);
    check(configuration, next, { target, before, isAlive, hasCaughtUp });
    configuration = next;
  }
}

interface Facts {
  readonly target: readonly number[];
  readonly before: readonly number[];
  readonly isAlive: (id: number) => boolean;
  readonly hasCaughtUp: (id: number) => boolean;
}

function check(
  from: Configuration,
  to: Configuration,
  { target, before, isAlive, hasCaughtUp }: Facts,
): void {
  const early = to.voters.find((id) => !from.voters.includes(id) && !hasCaughtUp(id));
  if (early !== undefined) throw new CheckFailure('moves', `${early} votes before it has caught up`);
  const fewest = Math.min(before.length, target.length);
  if (to.voters.length < fewest)
    throw new CheckFailure(
      'moves',
      `${to.voters.length} voters, of ${before.length} that are to be ${target.length}`,
    );
  const alive = to.voters.filter(isAlive).length;
  if (to.outgoing.length > 0 && alive <= to.voters.length / 2)
    throw new CheckFailure('moves', `a change to ${to.voters.join(', ')}, of which ${alive} are alive`);
}
