/**
 * What partitions of topics have applied, wherever that was first; every other replica must come
 * to the same results.
 */
import { crc32 } from 'node:zlib';
import { readRecords } from '../../../client/broker/record-reader.ts';
import { PartitionCommandKind } from '../../../node/broker/partition-command.ts';
import { PartitionMachine } from '../../../node/broker/partition-machine.ts';
import type { PartitionOutcome } from '../../../node/broker/partition-outcome.ts';
import { decodeCommands, EntryKind, type Entry } from '../../../node/raft/entry.ts';
import type { GroupReplica } from '../../../node/raft/group-replica.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import type { BrokerChecker } from '../checkers/broker-checker.ts';

export class PartitionApplied {
  readonly #checker: BrokerChecker;
  readonly #onFailure: (error: Error) => void;
  /** By group and index: what the commands resulted in. */
  readonly #results = new Map<string, number>();

  constructor(checker: BrokerChecker, onFailure: (error: Error) => void) {
    this.#checker = checker;
    this.#onFailure = onFailure;
  }

  /** A node has applied an entry. */
  applied(node: string, replica: GroupReplica, entry: Entry, results: readonly unknown[]): void {
    const { machine } = replica;
    if (!(machine instanceof PartitionMachine)) return;
    try {
      this.#applied(node, replica.group, machine, entry, results);
    } catch (error) {
      this.#onFailure(error as Error);
    }
  }

  #applied(
    node: string,
    group: number,
    machine: PartitionMachine,
    entry: Entry,
    results: readonly unknown[],
  ): void {
    let sum = crc32(entry.payload, entry.stampMs >>> 0);
    for (const result of results) sum = crc32(machine.encodeResult(result), sum);
    const name = `${group} ${entry.index}`;
    const known = this.#results.get(name);
    this.#results.set(name, sum);
    if (known === undefined && entry.kind === EntryKind.commands) this.#first(group, entry, results);
    else if (known !== undefined && known !== sum)
      throw new CheckFailure('partitions', `${node} applied entry ${name} with other results than another`);
  }

  #first(group: number, entry: Entry, results: readonly unknown[]): void {
    let at = 0;
    for (const { kind, bytes } of decodeCommands(entry.payload)) {
      const outcome = results[at++] as PartitionOutcome;
      if (kind !== PartitionCommandKind.append || outcome.case !== 'appended' || outcome.isDuplicate)
        continue;
      this.#checker.onAppended(group, outcome.baseOffset!, valuesOf(bytes));
    }
  }
}

/** Values of a batch, as text. */
export function valuesOf(batch: Uint8Array): string[] {
  return readRecords(batch).map(({ value }) => Buffer.from(value ?? []).toString());
}
