/**
 * A random workload on one node whose every answer is compared with a naive model, and
 * which knows after a crash what must be there, what may be, and what must not.
 *
 * Writes of a partition are applied in the order they were proposed, so what survives is
 * a prefix of that order that holds at least every acknowledged write.
 */
import { between } from '../../client/random.ts';
import { MutationKind, type MutationCommand } from '../../node/kv/kv-command.ts';
import { VersionCounter } from '../../node/kv/kv-rows.ts';
import type { Engine } from '../../node/main/engine.ts';
import type { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { PartitionModel, endingOf, shownEnding, type Ending, type SentWrite } from './kv-model.ts';

const KEYS = 12;
const NO_BYTES = new Uint8Array(0);

interface Partition {
  /** State that is known: everything acknowledged and checked. */
  settled: PartitionModel;
  /** Writes after it, in order of proposal. */
  sent: SentWrite[];
  /** How many of them a crash left. */
  survived: number;
}

export class CrashWorkload {
  readonly #random: SeededRandom;
  readonly #clientId: Uint8Array;
  readonly #partitions = new Map<number, Partition>();
  #sequence = 0;
  acknowledged = 0;
  unknown = 0;
  retriedApplied = 0;
  retriedFresh = 0;

  constructor(random: SeededRandom) {
    this.#random = random;
    this.#clientId = random.bytes(16);
  }

  /** Sends `count` writes, a few at a time, with flushes between; ends when all are answered. */
  async write(engine: Engine, count: number): Promise<void> {
    for (let done = 0; done < count;) {
      const burst = between(this.#random, 1, 6);
      const pending = Array.from({ length: burst }, () => this.#send(engine, this.#randomCommand()));
      done += burst;
      await Promise.all(pending);
      if (this.#random.chance(0.15)) engine.rows.startFlush();
    }
  }

  /** After a restart: finds what survived, checks it, then sends every unanswered write again. */
  async resume(engine: Engine): Promise<void> {
    for (const [group, partition] of this.#partitions) this.#reconcile(engine, group, partition);
    for (const [group, partition] of this.#partitions) await this.#retry(engine, group, partition);
    this.check(engine);
  }

  /** Compares every key with the model. */
  check(engine: Engine): void {
    for (const [group, partition] of this.#partitions) {
      this.#settle(partition);
      const actual = this.#actual(engine, group, partition);
      const expected = shownState(partition.settled);
      if (actual !== expected) throw new Error(`group ${group} holds ${actual}, expected ${expected}`);
    }
  }

  #randomCommand(): MutationCommand {
    const random = this.#random;
    const number = between(random, 0, KEYS - 1);
    const isCounter = number % 3 === 0;
    const key = Buffer.from(`${isCounter ? 'counter' : 'key'}/${number}`);
    const kinds = isCounter
      ? [MutationKind.increment, MutationKind.increment, MutationKind.increment, MutationKind.delete]
      : [
          MutationKind.put,
          MutationKind.create,
          MutationKind.setIfVersion,
          MutationKind.setIfValue,
          MutationKind.delete,
          MutationKind.deleteIfVersion,
        ];
    const kind = kinds[between(random, 0, kinds.length - 1)]!;
    const known = this.#guess(key.toString());
    const takesValue = kind < MutationKind.increment;
    return {
      kind,
      key,
      value: takesValue
        ? Buffer.from(`v${this.#sequence + 1}${random.chance(0.2) ? '\0'.repeat(1_500) : ''}`)
        : NO_BYTES,
      ttlMs: undefined,
      expectedVersion: known.version,
      expectedValue: kind === MutationKind.setIfValue ? Buffer.from(known.text) : NO_BYTES,
      delta: kind === MutationKind.increment ? BigInt(between(random, -5, 9)) : 0n,
    };
  }

  /** What a key probably holds, so that comparisons often succeed. */
  #guess(key: string): { version: number; text: string } {
    for (const { settled, sent } of this.#partitions.values()) {
      const model = settled.copy();
      for (const { command } of sent) model.apply(command);
      const value = model.values.get(key);
      if (value !== undefined)
        return this.#random.chance(0.8) ? value : { version: value.version + 1, text: 'other' };
    }
    return { version: 1, text: 'nothing' };
  }

  #send(engine: Engine, command: MutationCommand): Promise<void> {
    const keyspace = engine.keyspaces.get('default');
    const { group } = keyspace.partitionOf(command.key);
    let partition = this.#partitions.get(group);
    if (partition === undefined)
      this.#partitions.set(group, (partition = { settled: new PartitionModel(), sent: [], survived: 0 }));
    const write: SentWrite = {
      sequence: ++this.#sequence,
      clientId: this.#clientId,
      command,
      ending: undefined,
    };
    partition.sent.push(write);
    return this.#propose(engine, write).then((ending) => {
      if (ending === undefined) throw new Error('a write ended unknown without a crash');
      write.ending = ending;
      this.acknowledged++;
    });
  }

  #propose(engine: Engine, write: SentWrite): Promise<Ending | undefined> {
    const keyspace = engine.keyspaces.get('default');
    const unanswered = [...this.#partitions.values()].flatMap(({ sent }) =>
      sent.filter(({ ending }) => ending === undefined),
    );
    const ackedBelow = Math.min(write.sequence, ...unanswered.map(({ sequence }) => sequence));
    const identity = { clientId: write.clientId, sequence: write.sequence, ackedBelow, open: true };
    return new Promise((resolve) => {
      const sink = {
        onDone: (outcome: Ending extends infer E ? Extract<E, { outcome: unknown }>['outcome'] : never) =>
          resolve({ outcome }),
        onError: (error: Parameters<typeof endingOf>[0]) => resolve(endingOf(error)),
      };
      engine.kv.mutate(keyspace, write.command, { identity, fence: undefined }, Infinity, sink);
    });
  }

  /** Moves the answered beginning of `sent` into the settled state, comparing each answer. */
  #settle(partition: Partition): void {
    while (partition.sent[0]?.ending !== undefined) {
      const { command, ending } = partition.sent.shift()!;
      compareEndings(ending!, partition.settled.apply(command));
    }
  }

  /** Which prefix of the writes survived: the longest that explains all keys. */
  #reconcile(engine: Engine, group: number, partition: Partition): void {
    const lastAnswered = partition.sent.findLastIndex(({ ending }) => ending !== undefined);
    const actual = this.#actual(engine, group, partition);
    const states = [partition.settled.copy()];
    for (const { command } of partition.sent) {
      const next = states.at(-1)!.copy();
      next.apply(command);
      states.push(next);
    }
    const kept = states.findLastIndex((state) => shownState(state) === actual);
    if (kept <= lastAnswered) {
      const possible = states
        .slice(lastAnswered + 1)
        .map(shownState)
        .join(' | ');
      throw new Error(
        `group ${group} holds ${actual} after the crash; with all that was acknowledged it would be one of: ${possible}`,
      );
    }
    this.unknown += partition.sent.length - lastAnswered - 1;
    partition.survived = kept;
  }

  /**
   * Sends unanswered writes again, in order, with their sequences. One that survived gets
   * its first result and changes nothing; one that did not is carried out now.
   */
  async #retry(engine: Engine, group: number, partition: Partition): Promise<void> {
    const { settled, sent, survived } = partition;
    const again: { write: SentWrite; first: Ending | undefined }[] = [];
    for (const [position, write] of sent.entries()) {
      const first = position < survived ? settled.apply(write.command) : undefined;
      if (write.ending !== undefined) compareEndings(write.ending, first!);
      else again.push({ write, first });
    }
    partition.sent = [];
    for (const { write, first } of again) {
      const ending = await this.#propose(engine, write);
      write.ending = ending;
      compareEndings(ending ?? { reason: 'unknown' }, first ?? settled.apply(write.command));
      if (first !== undefined) this.retriedApplied++;
      else this.retriedFresh++;
      const actual = this.#actual(engine, group, partition);
      if (actual !== shownState(settled))
        throw new Error(`group ${group} holds ${actual} after a retry, expected ${shownState(settled)}`);
    }
  }

  #actual(engine: Engine, group: number, partition: Partition): string {
    const keyspace = engine.keyspaces.get('default');
    const machine = keyspace.partitions.find((each) => each.group === group)!.machine!;
    const keys = new Set([
      ...partition.settled.values.keys(),
      ...partition.sent.map(({ command }) => Buffer.from(command.key).toString()),
    ]);
    const rows = [...keys].sort().flatMap((key) => {
      const found = machine.value(Buffer.from(key), engine.host.logTimeMs(group));
      return found === undefined
        ? []
        : [`${key}=${Buffer.from(found.value).toString().replaceAll('\0', '')}@${found.version}`];
    });
    // Writes that undo each other leave the same keys; the versions given out tell them apart.
    const versions = engine.rows.live(machine.keys.versions(), VersionCounter.decode)?.last ?? 0;
    return `#${versions} ${rows.join(' ')}`;
  }
}

function compareEndings(actual: Ending, expected: Ending): void {
  if (shownEnding(actual) !== shownEnding(expected))
    throw new Error(`answered ${shownEnding(actual)}, expected ${shownEnding(expected)}`);
}

function shownState(model: PartitionModel): string {
  const rows = [...model.values]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, { text, version }]) => `${key}=${text.replaceAll('\0', '')}@${version}`);
  return `#${model.version} ${rows.join(' ')}`;
}
