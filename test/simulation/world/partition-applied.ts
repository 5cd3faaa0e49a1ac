/**
 * What partitions of topics have applied, wherever that was first; every other replica must come
 * to the same results.
 */
import { crc32 } from 'node:zlib';
import { readRecords } from '../../../client/broker/record-reader.ts';
import { PartitionCommandKind, decodeClaim, decodeCommit } from '../../../node/broker/partition-command.ts';
import { PartitionMachine } from '../../../node/broker/partition-machine.ts';
import type { PartitionOutcome } from '../../../node/broker/partition-outcome.ts';
import { decodeCommands, EntryKind, type Entry } from '../../../node/raft/entry.ts';
import type { GroupReplica } from '../../../node/raft/group-replica.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import type { CoordinationMachine } from '../../../node/coordination/coordination-machine.ts';
import { COORDINATION_GROUP } from '../../../node/raft/members.ts';
import type { BrokerChecker } from '../checkers/broker-checker.ts';
import type { GroupChecker } from '../checkers/group-checker.ts';
import { GROUP } from './group-reader.ts';

export class PartitionApplied {
  readonly #checker: BrokerChecker;
  readonly #groups: GroupChecker;
  /** Last entry of group 0 that was looked at. */
  #coordinated = 0;
  readonly #onFailure: (error: Error) => void;
  /** By group and index: what the commands resulted in. */
  readonly #results = new Map<string, number>();

  constructor(checker: BrokerChecker, groups: GroupChecker, onFailure: (error: Error) => void) {
    this.#checker = checker;
    this.#groups = groups;
    this.#onFailure = onFailure;
  }

  /** A node has applied an entry. */
  applied(node: string, replica: GroupReplica, entry: Entry, results: readonly unknown[]): void {
    const { machine } = replica;
    try {
      if (replica.group === COORDINATION_GROUP)
        this.#coordinationApplied(machine as CoordinationMachine, entry.index);
      if (!(machine instanceof PartitionMachine)) return;
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

  #coordinationApplied(machine: CoordinationMachine, index: number): void {
    if (index <= this.#coordinated) return;
    this.#coordinated = index;
    const state = machine.groups.get(GROUP);
    if (state !== undefined) this.#groups.onGroup(state);
  }

  #first(group: number, entry: Entry, results: readonly unknown[]): void {
    let at = 0;
    for (const { kind, bytes } of decodeCommands(entry.payload)) {
      const outcome = results[at++] as PartitionOutcome;
      if (kind === PartitionCommandKind.append && outcome.case === 'appended' && !outcome.isDuplicate)
        this.#checker.onAppended(group, outcome.baseOffset!, valuesOf(bytes));
      else if (kind === PartitionCommandKind.claimOffset && outcome.case === 'offset')
        this.#groups.onClaimed(group, decodeClaim(bytes).generation, outcome.offset);
      else if (kind === PartitionCommandKind.commitOffset && outcome.case === 'done') {
        const { generation, offset } = decodeCommit(bytes);
        this.#groups.onCommitted(group, generation, offset);
      }
    }
  }
}

/** Values of a batch, as text. */
export function valuesOf(batch: Uint8Array): string[] {
  return readRecords(batch).map(({ value }) => Buffer.from(value ?? []).toString());
}
