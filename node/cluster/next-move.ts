/**
 * The next step that brings the replicas of a group to where they are to be. Pure: made from
 * the group's configuration and the target alone, so whoever leads next goes on where this one
 * stopped.
 *
 *  1. A replica becomes a voter only as a learner that has caught up.
 *  2. No voter goes before the one that comes in its place has caught up.
 *  3. A change is begun only if a majority of the voters after it is alive: one that is not
 *     could never be completed.
 */
import { isJoint, type Configuration, type ConfigurationChange } from '../raft/core/configuration.ts';

export interface MoveInput {
  readonly configuration: Configuration;
  /** Who is to vote; never empty. */
  readonly target: readonly number[];
  /** The replica that leads. */
  readonly self: number;
  readonly isAlive: (replica: number) => boolean;
  /** Whether a learner lacks so little that it can vote. */
  readonly hasCaughtUp: (learner: number) => boolean;
  /** Whether another replica may be filled now. */
  readonly mayFill: boolean;
}

/** What to do; `undefined`: nothing, now. */
export function nextMove(input: MoveInput): readonly ConfigurationChange[] | undefined {
  const { configuration, target } = input;
  if (isJoint(configuration)) return undefined;
  const { voters, learners } = configuration;
  const stray = learners.find((replica) => !target.includes(replica));
  if (stray !== undefined) return [{ type: 'remove', replica: stray }];
  const missing = target.filter((replica) => !voters.includes(replica));
  const surplus = voters.filter((replica) => !target.includes(replica));
  if (missing.length === 0) return removal(input, surplus);
  return promotion(input, missing, surplus) ?? filling(input, missing);
}

/** Whether everything is where it is to be. */
export function isSettled({ configuration, target }: Pick<MoveInput, 'configuration' | 'target'>): boolean {
  const { voters, outgoing, learners } = configuration;
  const isVoting = target.every((replica) => voters.includes(replica)) && voters.length === target.length;
  return isVoting && outgoing.length + learners.length === 0;
}

/** Invariants 1, 2. In one change, so that there is no moment with a copy less or a voter more. */
function promotion(
  input: MoveInput,
  missing: readonly number[],
  surplus: readonly number[],
): ConfigurationChange[] | undefined {
  const { configuration, isAlive, hasCaughtUp } = input;
  const replica = missing.find(
    (one) => configuration.learners.includes(one) && isAlive(one) && hasCaughtUp(one),
  );
  if (replica === undefined) return undefined;
  const add: ConfigurationChange = { type: 'add voter', replica };
  const out = whoGoes(input, surplus);
  const exchange: ConfigurationChange[] = out === undefined ? [add] : [add, { type: 'remove', replica: out }];
  return [exchange, [add]].find((changes) => isServable(input, changes));
}

function filling(
  { configuration, isAlive, mayFill }: MoveInput,
  missing: readonly number[],
): ConfigurationChange[] | undefined {
  const { learners } = configuration;
  const replica = missing.find((one) => !learners.includes(one));
  // One after the other; one that is not there is not waited for.
  if (replica === undefined || !mayFill || learners.some(isAlive)) return undefined;
  return [{ type: 'add learner', replica }];
}

function removal(input: MoveInput, surplus: readonly number[]): ConfigurationChange[] | undefined {
  const replica = whoGoes(input, surplus);
  if (replica === undefined) return undefined;
  const changes: ConfigurationChange[] = [{ type: 'remove', replica }];
  return isServable(input, changes) ? changes : undefined;
}

/** Those first that are no use any more; the leader last. */
function whoGoes({ self, isAlive }: MoveInput, surplus: readonly number[]): number | undefined {
  const others = surplus.filter((replica) => replica !== self);
  return others.find((replica) => !isAlive(replica)) ?? others[0] ?? surplus[0];
}

/** Invariant 3. */
function isServable({ configuration, isAlive }: MoveInput, changes: readonly ConfigurationChange[]): boolean {
  const voters = new Set(configuration.voters);
  for (const { type, replica } of changes) {
    if (type === 'add voter') voters.add(replica);
    else voters.delete(replica);
  }
  const alive = [...voters].filter(isAlive).length;
  return alive > voters.size / 2;
}
