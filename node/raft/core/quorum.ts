/**
 * What a majority decides. In a joint configuration each of the two sets of voters has
 * to agree by a majority of its own. A configuration without voters decides nothing.
 */
import type { Configuration, ReplicaId } from './configuration.ts';

export type VoteResult = 'won' | 'lost' | 'pending';

/** How many of `size` voters are a majority. */
export function majority(size: number): number {
  return Math.floor(size / 2) + 1;
}

/** The greatest index (or round) that a quorum has reached. */
export function quorumIndex(configuration: Configuration, reached: (replica: ReplicaId) => number): number {
  const incoming = majorityIndex(configuration.voters, reached);
  if (configuration.outgoing.length === 0) return incoming;
  return Math.min(incoming, majorityIndex(configuration.outgoing, reached));
}

/** Where a vote stands. `voteOf` gives undefined for who has not answered. */
export function tally(
  configuration: Configuration,
  voteOf: (replica: ReplicaId) => boolean | undefined,
): VoteResult {
  const incoming = majorityVote(configuration.voters, voteOf);
  if (configuration.outgoing.length === 0 || incoming === 'lost') return incoming;
  const outgoing = majorityVote(configuration.outgoing, voteOf);
  if (outgoing === 'lost') return 'lost';
  return incoming === 'won' && outgoing === 'won' ? 'won' : 'pending';
}

/** Whether a quorum is among those for whom `holds` is true. */
export function hasQuorum(configuration: Configuration, holds: (replica: ReplicaId) => boolean): boolean {
  return tally(configuration, holds) === 'won';
}

function majorityIndex(voters: readonly ReplicaId[], reached: (replica: ReplicaId) => number): number {
  if (voters.length === 0) return 0;
  const indexes = voters.map(reached).sort((a, b) => b - a);
  return indexes[majority(voters.length) - 1]!;
}

function majorityVote(
  voters: readonly ReplicaId[],
  voteOf: (replica: ReplicaId) => boolean | undefined,
): VoteResult {
  let granted = 0;
  let refused = 0;
  for (const voter of voters) {
    const vote = voteOf(voter);
    if (vote === true) granted++;
    if (vote === false) refused++;
  }
  const needed = majority(voters.length);
  if (granted >= needed) return 'won';
  return voters.length - refused < needed ? 'lost' : 'pending';
}
