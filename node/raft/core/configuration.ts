/**
 * Who belongs to a group: voters, learners and, between the two steps of a change, the
 * voters that are on their way out (joint consensus, Raft paper, section 6). An entry of
 * kind `configuration` carries the whole of it, so a replica knows its group from the
 * last such entry alone.
 *
 *  1. While `outgoing` is not empty, both it and `voters` decide, each by majority.
 *  2. Nobody is voter and learner at once. Whoever is to become a learner may still be
 *     among `outgoing`, and votes as long as it is.
 *  3. The number of a replica that was removed is never used again; that is the host's part.
 */
import { VarintReader, VarintWriter } from './varint.ts';

/** A node's replica of a group: a positive integer that is never reused. 0 stands for none. */
export type ReplicaId = number;

/** The members of a group; each list in ascending order, without repeats. */
export interface Configuration {
  readonly voters: readonly ReplicaId[];
  readonly outgoing: readonly ReplicaId[];
  readonly learners: readonly ReplicaId[];
}

/** Of a replica that has not heard from its group yet. */
export const NO_CONFIGURATION: Configuration = { voters: [], outgoing: [], learners: [] };

/** One step of a change of members. */
export interface ConfigurationChange {
  readonly type: 'add voter' | 'add learner' | 'remove';
  readonly replica: ReplicaId;
}

export function isJoint(configuration: Configuration): boolean {
  return configuration.outgoing.length > 0;
}

export function isVoter(configuration: Configuration, replica: ReplicaId): boolean {
  return configuration.voters.includes(replica) || configuration.outgoing.includes(replica);
}

/** Everyone who gets the log, in ascending order. */
export function members(configuration: Configuration): ReplicaId[] {
  return ascending([...configuration.voters, ...configuration.outgoing, ...configuration.learners]);
}

/**
 * The configuration that begins the change. With other voters it is a joint one, left
 * by `leaveJoint`; changes of learners alone take one step. Returns what is wrong with
 * the changes if they cannot be made.
 */
export function applyChanges(
  configuration: Configuration,
  changes: readonly ConfigurationChange[],
): Configuration | string {
  const voters = new Set(configuration.voters);
  const learners = new Set(configuration.learners);
  for (const { type, replica } of changes) {
    if (!Number.isSafeInteger(replica) || replica <= 0) return `${replica} is no replica`;
    voters.delete(replica);
    learners.delete(replica);
    if (type === 'add voter') voters.add(replica);
    if (type === 'add learner') learners.add(replica);
  }
  if (voters.size === 0) return 'no voter would be left';
  const next = { voters: ascending(voters), outgoing: [], learners: ascending(learners) };
  if (sameMembers(next.voters, configuration.voters)) {
    return sameMembers(next.learners, configuration.learners) ? 'nothing would change' : next;
  }
  return { ...next, outgoing: configuration.voters };
}

/** The configuration that ends a change. */
export function leaveJoint(configuration: Configuration): Configuration {
  return { ...configuration, outgoing: [] };
}

const VERSION = 1;

export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const writer = new VarintWriter(64).u8(VERSION);
  writeConfiguration(writer, configuration);
  return Uint8Array.from(writer.finish());
}

/** RangeError when the bytes are not a configuration. */
export function decodeConfiguration(bytes: Uint8Array): Configuration {
  const reader = new VarintReader(bytes);
  const version = reader.u8();
  if (version !== VERSION) throw new RangeError(`configuration of unknown version ${version}`);
  const configuration = readConfiguration(reader);
  if (!reader.done) throw new RangeError('configuration is followed by other bytes');
  return configuration;
}

export function writeConfiguration(writer: VarintWriter, configuration: Configuration): void {
  for (const list of [configuration.voters, configuration.outgoing, configuration.learners]) {
    writer.varint(list.length);
    for (const replica of list) writer.varint(replica);
  }
}

export function readConfiguration(reader: VarintReader): Configuration {
  const configuration = { voters: readList(reader), outgoing: readList(reader), learners: readList(reader) };
  if (configuration.learners.some((replica) => configuration.voters.includes(replica))) {
    throw new RangeError('configuration has a replica that is voter and learner');
  }
  return configuration;
}

function readList(reader: VarintReader): ReplicaId[] {
  const list: ReplicaId[] = [];
  for (let left = reader.count(1); left > 0; left--) {
    const replica = reader.varint();
    if (replica <= (list.at(-1) ?? 0)) throw new RangeError('configuration is not in ascending order');
    list.push(replica);
  }
  return list;
}

function ascending(replicas: Iterable<ReplicaId>): ReplicaId[] {
  return [...new Set(replicas)].sort((a, b) => a - b);
}

function sameMembers(a: readonly ReplicaId[], b: readonly ReplicaId[]): boolean {
  return a.length === b.length && a.every((replica, position) => replica === b[position]);
}
