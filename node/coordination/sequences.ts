/** Sequences on this node: numbers by name that only grow, over the whole cluster. */
import { CoordinationKind, encodeCommand, type WriteIdentity } from './coordination-command.ts';
import type { CallTerms, Coordination } from './coordination.ts';
import {
  readSequenceOutcome,
  writeSequenceCommand,
  type SequenceCommand,
  type SequenceState,
} from './sequence-part.ts';

export class Sequences {
  readonly #coordination: Coordination;

  constructor(coordination: Coordination) {
    this.#coordination = coordination;
  }

  /** Takes the next numbers; resolves with the first. Error: HoldfastError with outcome, SEQUENCE_EXHAUSTED among others. */
  next(command: SequenceCommand, terms: CallTerms, identity: WriteIdentity | undefined): Promise<number> {
    const encoded = encodeCommand(CoordinationKind.sequenceNext, identity, (writer) =>
      writeSequenceCommand(writer, command),
    );
    return this.#coordination.propose(encoded, { ...terms, grows: true, decode: readSequenceOutcome });
  }

  /** Up to `limit`, by name, after one. Error: HoldfastError. */
  async list(
    after: string,
    limit: number,
    deadlineMs: number,
  ): Promise<{ sequences: SequenceState[]; more: boolean }> {
    await this.#coordination.awaitRead({ deadlineMs, isRouted: false });
    return this.#coordination.machine.sequences.list(after, limit);
  }
}
