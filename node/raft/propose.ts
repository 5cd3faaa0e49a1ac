/** Proposing a command and waiting for its result: for callers that are not on the hot path. */
import { HoldfastError } from '@holdfast/client/error';
import type { Command } from './entry.ts';
import type { GroupHost } from './group-host.ts';
import type { ProposalFailure, UnledGroup } from './state-machine.ts';

/** Proposes a command; resolves with the state machine's result. Error: HoldfastError with outcome. */
export function propose(
  host: GroupHost,
  group: number,
  command: Command,
  deadlineMs: number,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    host.propose(group, {
      kind: command.kind,
      version: command.version,
      bytes: command.bytes,
      deadlineMs,
      onApplied: resolve,
      onFailed: (failure) => reject(proposalError(failure)),
    });
  });
}

/** Resolves when what was acknowledged before is applied here. Error: HoldfastError NOT_LEADER. */
export function awaitRead(host: GroupHost, group: number): Promise<void> {
  return new Promise((resolve, reject) => {
    host.awaitRead(group, {
      onReady: resolve,
      onFailed: () => {
        const cause = host.failure ?? (host.replica(group) === undefined ? 'group gone' : 'not leader');
        const notLed = host.isLeader(group) ? {} : host.notLed(group);
        reject(proposalError({ cause, outcome: 'NOT_APPLIED', ...notLed }).withOutcome(undefined));
      },
    });
  });
}

/** Whether what is applied here holds everything that was acknowledged before a monotonic time. */
export function isFresh(host: GroupHost, group: number, sinceMs: number): boolean {
  const replica = host.failure === undefined ? host.replica(group) : undefined;
  return replica !== undefined && replica.reads.freshAsOfMs >= sinceMs;
}

/** Whether an error says that the group is not led here: another node may know more. */
export function isNotLed(error: unknown): boolean {
  return error instanceof HoldfastError && (error.reason === 'NOT_LEADER' || error.reason === 'NO_LEADER');
}

/** What a proposal's failure means to the caller. */
export function proposalError({ cause, outcome, leader, unled }: ProposalFailure): HoldfastError {
  const fate =
    outcome === 'NOT_APPLIED' ? 'Nothing was written.' : 'The write may or may not have been kept.';
  switch (cause) {
    case 'deadline':
      return new HoldfastError({
        reason: 'DEADLINE_EXCEEDED',
        message: `the deadline passed before the write was proposed. ${fate}`,
        outcome,
      });
    case 'group gone':
      return new HoldfastError({
        reason: 'KEYSPACE_UNKNOWN',
        message: `the keyspace was dropped. ${fate}`,
        outcome,
        field: 'keyspace',
      });
    case 'not leader':
      if (leader === undefined && unled !== undefined) return unledError(unled, outcome, fate);
      return new HoldfastError({
        reason: 'NOT_LEADER',
        message: `this node does not lead the key's partition; ${leader === undefined ? 'no leader is known' : `${leader.name} does`}. ${fate}`,
        outcome,
        leader: leader?.address,
        retryAfterMs: leader === undefined ? 100 : undefined,
      });
    case 'no replica':
      return new HoldfastError({
        reason: 'NOT_LEADER',
        message: `this node has no replica of the key's partition${leader === undefined ? '' : `; ask ${leader.name}`}. ${fate}`,
        outcome,
        leader: leader?.address,
        retryAfterMs: leader === undefined ? 100 : undefined,
      });
    case 'stopped':
      return new HoldfastError({
        reason: 'SHUTTING_DOWN',
        message: `the node is stopping. ${fate} Try again, or ask another node.`,
        outcome,
      });
    case 'node damaged':
      return new HoldfastError({
        reason: 'NODE_DAMAGED',
        message: `this node's data is damaged and is not served. ${fate} Ask another node.`,
        outcome,
      });
    case 'storage damaged':
      return new HoldfastError({
        reason: 'STORAGE_DAMAGED',
        message: `the node's data is damaged and is not served. ${fate}`,
        outcome,
      });
    case 'storage failed':
      return new HoldfastError({
        reason: 'UNAVAILABLE',
        message: `the node's disk failed and the node is ending. ${fate}`,
        outcome,
      });
  }
}

/** It is retried like any other refusal, but says that waiting within the call will hardly help. */
function unledError(
  { forMs, needed, heard, silent }: UnledGroup,
  outcome: 'NOT_APPLIED' | 'UNKNOWN',
  fate: string,
): HoldfastError {
  const total = heard.length + silent.length;
  const missing = silent.length === 0 ? '' : `, not ${silent.join(', ')}`;
  return new HoldfastError({
    reason: 'NO_LEADER',
    message:
      `nobody has led the key's partition for ${Math.round(forMs / 1_000)} s: of the ${total} nodes that decide in it ${needed} must be up ` +
      `and reach each other, and this node hears ${heard.join(', ')}${missing}. ${fate}`,
    outcome,
    retryAfterMs: 200,
  });
}
