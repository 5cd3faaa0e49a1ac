/**
 * What group 0 has applied, wherever that was first: entries in their order, each once, with
 * the results. Every other replica must come to the same results.
 */
import { crc32 } from 'node:zlib';
import type { DecodedCommand } from '../../../node/coordination/coordination-command.ts';
import type { CoordinationMachine } from '../../../node/coordination/coordination-machine.ts';
import { TreeCommandKind } from '../../../node/coordination/tree-command.ts';
import { encodeOutcome, isRefusal, type Outcome } from '../../../node/coordination/refusal.ts';
import { decodeCommands, EntryKind, type Entry } from '../../../node/raft/entry.ts';
import type { GroupReplica } from '../../../node/raft/group-replica.ts';
import { COORDINATION_GROUP } from '../../../node/raft/members.ts';
import { CheckFailure } from '../../raft/check-failure.ts';

/** A command of users, which was applied for the first time. */
export interface AppliedCommand {
  readonly kind: number;
  readonly body: unknown;
  readonly outcome: Outcome;
}

export interface AppliedLogReader {
  /** The commands of an entry, without repeats and the cluster’s own; and the machine as it is now. */
  onApplied(commands: readonly AppliedCommand[], machine: CoordinationMachine): void;
}

/** Nothing was decided, so nothing is remembered: a repeat may be. */
const UNDECIDED = new Set(['CLIENT_EXPIRED', 'SEQUENCE_STALE', 'RESULT_NOT_KEPT', 'OVERLOADED']);

export class AppliedLog {
  readonly #reader: AppliedLogReader;
  readonly #onFailure: (error: Error) => void;
  /** By index: what its commands resulted in. */
  readonly #results: number[] = [];
  readonly #decided = new Map<string, number>();

  constructor(reader: AppliedLogReader, onFailure: (error: Error) => void) {
    this.#reader = reader;
    this.#onFailure = onFailure;
  }

  /** A node has applied an entry. */
  applied(node: string, replica: GroupReplica, entry: Entry, results: readonly unknown[]): void {
    if (replica.group !== COORDINATION_GROUP) return;
    try {
      this.#applied(node, replica.machine as CoordinationMachine, entry, results);
    } catch (error) {
      this.#onFailure(error as Error);
    }
  }

  #applied(node: string, machine: CoordinationMachine, entry: Entry, results: readonly unknown[]): void {
    const { index } = entry;
    let sum = crc32(entry.payload, entry.stampMs >>> 0);
    for (const result of results) sum = crc32(machine.encodeResult(result), sum);
    const known = this.#results[index];
    if (known === undefined) {
      if (index > this.#results.length && this.#results.length > 0)
        throw new CheckFailure(
          'applied log',
          `${node} applied entry ${index} before anybody had ${index - 1}`,
        );
      this.#results[index] = sum;
      if (entry.kind === EntryKind.commands) this.#first(machine, entry, results);
    } else if (known !== sum) {
      throw new CheckFailure('applied log', `${node} applied entry ${index} with other results than another`);
    }
  }

  #first(machine: CoordinationMachine, entry: Entry, results: readonly unknown[]): void {
    const commands: AppliedCommand[] = [];
    let at = 0;
    for (const command of decodeCommands(entry.payload)) {
      const result = results[at++];
      if (command.kind === TreeCommandKind.transact || command.kind === TreeCommandKind.raiseRevision)
        continue;
      const { identity, body } = machine.parse(command) as DecodedCommand;
      const outcome = result as Outcome;
      if (identity !== undefined && this.#isRepeat(identity, outcome)) continue;
      commands.push({ kind: command.kind, body, outcome });
    }
    this.#reader.onApplied(commands, machine);
  }

  /** What is repeated has the result that it had. */
  #isRepeat({ clientId, sequence }: { clientId: Uint8Array; sequence: number }, outcome: Outcome): boolean {
    if (isRefusal(outcome) && UNDECIDED.has(outcome.refused)) return true;
    const write = `${Buffer.from(clientId).toString('hex')} ${sequence}`;
    const sum = crc32(encodeOutcome(outcome));
    const known = this.#decided.get(write);
    this.#decided.set(write, sum);
    if (known !== undefined && known !== sum)
      throw new CheckFailure('applied once', `write ${write} was decided twice`);
    return known !== undefined;
  }
}
