/**
 * Watches what nodes say to each other, which none of them can take back: who leads a group
 * in a term, who voted for whom, which entries there are and which are committed.
 */
import { crc32 } from 'node:zlib';
import type { Append, Message } from '../../../node/raft/core/messages.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import { LogMatching, OneLeaderPerTerm } from '../checkers/replica-checks.ts';
import { coreMessages } from './open-member.ts';

export class WireWatch {
  readonly #leaders = new OneLeaderPerTerm();
  readonly #entries = new LogMatching();
  /** By group, term and voter: whom it has told that it voted for it. */
  readonly #votes = new Map<string, number>();
  /** Messages that were looked at. */
  messages = 0;

  /** Throws what the message gives away. */
  look(sent: Uint8Array): void {
    for (const { group, message } of coreMessages(sent)) {
      this.messages++;
      this.#lookAt(group, message);
    }
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
