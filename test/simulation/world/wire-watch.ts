/**
 * Watches what nodes say to each other, which none of them can take back: who leads a group
 * in a term, who voted for whom, which entries there are and which are committed; and that
 * who has just started takes no part before it is known again.
 */
import { crc32 } from 'node:zlib';
import type { Append, Message } from '../../../node/raft/core/messages.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import { LogMatching, OneLeaderPerTerm } from '../checkers/replica-checks.ts';
import { coreMessages, greetingOf } from './open-member.ts';

/** A node that is not welcomed waits for a second by its clock, which may be fast. */
const PROBATION_MS = 800;

/** What is known of one run of a node. */
interface Run {
  readonly startedMs: number;
  readonly welcomedBy: Set<string>;
}

export class WireWatch {
  readonly #leaders = new OneLeaderPerTerm();
  readonly #entries = new LogMatching();
  /** By group, term and voter: whom it has told that it voted for it. */
  readonly #votes = new Map<string, number>();
  readonly #runs = new Map<string, Run>();
  readonly #peers: () => number;
  /** Messages that were looked at. */
  messages = 0;

  /** Each node has at least so many peers. */
  constructor(peers: () => number) {
    this.#peers = peers;
  }

  /** Throws what the message gives away. */
  look(sent: Uint8Array, sender: string, nowMs: number): void {
    this.#noteGreeting(sent, sender, nowMs);
    for (const { group, message } of coreMessages(sent)) {
      this.messages++;
      this.#lookAt(group, message);
    }
  }

  /** All runs begin with a hello. */
  #noteGreeting(sent: Uint8Array, sender: string, nowMs: number): void {
    const { kind, run, welcomed } = greetingOf(sent);
    if (welcomed !== undefined) this.#runs.get(welcomed)?.welcomedBy.add(sender);
    const known = this.#runs.get(run);
    if (known === undefined) this.#runs.set(run, { startedMs: nowMs, welcomedBy: new Set() });
    else if (
      kind === 'envelope' &&
      known.welcomedBy.size < this.#peers() &&
      nowMs < known.startedMs + PROBATION_MS
    )
      throw new CheckFailure('probation', `${sender} takes part before it is known again`);
  }

  #lookAt(group: number, message: Message): void {
    const { from, term } = message;
    switch (message.type) {
      case 'append':
        this.#leaders.recordLeader(group, term, from);
        this.#noteEntries(group, message);
        return;
      case 'heartbeat':
      case 'snapshot':
      case 'timeoutNow':
        this.#leaders.recordLeader(group, term, from);
        return;
      case 'voteResponse':
        if (message.granted) this.#noteVote(group, term, from, message.to);
    }
  }

  #noteEntries(group: number, { from, committed, entries }: Append): void {
    for (const { index, term, kind, stampMs, payload } of entries) {
      const checksum = crc32(payload, crc32(`${kind} ${stampMs}`));
      if (index <= committed) this.#entries.recordApplied(group, from, index, term, checksum);
      else this.#entries.recordWritten(group, from, index, term, checksum);
    }
  }

  #noteVote(group: number, term: number, voter: number, candidate: number): void {
    const vote = `${group} ${term} ${voter}`;
    const other = this.#votes.get(vote);
    this.#votes.set(vote, candidate);
    if (other === undefined || other === candidate) return;
    throw new CheckFailure(
      'one vote',
      `${voter} votes for ${candidate} in term ${term} of group ${group}, after it voted for ${other}`,
    );
  }
}
