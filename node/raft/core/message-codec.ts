/**
 * The bytes of messages between nodes. One envelope holds messages of many groups one
 * after another, so joining the heartbeats of all groups is only writing them into the
 * same envelope, at about a dozen bytes each:
 *
 *   version, then for each message: type, group, from, to, term, fields of the type
 *
 * All integers are varints. Payloads of decoded entries are views of the input.
 *
 *  1. A malformed input gives a RangeError and nothing else, and allocates no more than
 *     a small multiple of its own length.
 *  2. What a version and a type mean never changes.
 */
import { readConfiguration, writeConfiguration } from './configuration.ts';
import { entryBytes, type Entry } from './entry.ts';
import type { Addressed, Append, Message } from './messages.ts';
import { VarintReader, VarintWriter } from './varint.ts';

/** A message and the group it belongs to. */
export interface GroupMessage {
  readonly group: number;
  readonly message: Message;
}

const VERSION = 1;

/** Number of each type on the wire; never reused for another. */
const TYPE_NUMBERS = {
  preVote: 1,
  preVoteResponse: 2,
  vote: 3,
  voteResponse: 4,
  append: 5,
  appendAccepted: 6,
  appendRejected: 7,
  heartbeat: 8,
  heartbeatResponse: 9,
  snapshot: 10,
  timeoutNow: 11,
  readIndex: 12,
  readIndexResponse: 13,
} as const satisfies Record<Message['type'], number>;

const TYPES = new Map<number, Message['type']>(
  Object.entries(TYPE_NUMBERS).map(([type, number]) => [number, type as Message['type']]),
);

/** Kind, version, payload length, term and stamp of an entry take at least this. */
const MIN_ENTRY_BYTES = 5;

/** About how many bytes a message takes in an envelope. */
export function messageBytes(message: Message): number {
  let bytes = 64;
  if (message.type === 'append') for (const entry of message.entries) bytes += entryBytes(entry);
  return bytes;
}

export function encodeEnvelope(messages: readonly GroupMessage[]): Buffer {
  let capacity = 1;
  for (const { message } of messages) capacity += messageBytes(message);
  const writer = new VarintWriter(capacity).u8(VERSION);
  for (const { group, message } of messages) {
    writer.u8(TYPE_NUMBERS[message.type]).varint(group);
    writer.varint(message.from).varint(message.to).varint(message.term);
    writeFields(writer, message);
  }
  return writer.finish();
}

/** RangeError when the bytes are no envelope. Invariant 1. */
export function decodeEnvelope(bytes: Uint8Array): GroupMessage[] {
  const reader = new VarintReader(bytes);
  const version = reader.u8();
  if (version !== VERSION) throw new RangeError(`envelope of unknown version ${version}`);
  const messages: GroupMessage[] = [];
  while (!reader.done) {
    const number = reader.u8();
    const type = TYPES.get(number);
    if (type === undefined) throw new RangeError(`message of unknown type ${number}`);
    messages.push({ group: reader.varint(), message: readMessage(reader, type) });
  }
  return messages;
}

function writeFields(writer: VarintWriter, message: Message): void {
  switch (message.type) {
    case 'preVote':
      writer.varint(message.lastIndex).varint(message.lastTerm);
      break;
    case 'vote':
      writer.varint(message.lastIndex).varint(message.lastTerm).u8(Number(message.isTransfer));
      break;
    case 'preVoteResponse':
    case 'voteResponse':
      writer.u8(Number(message.granted));
      break;
    case 'append':
      writeAppend(writer, message);
      break;
    case 'appendAccepted':
      writer.varint(message.index);
      break;
    case 'appendRejected':
      writer.varint(message.prevIndex).varint(message.hintIndex).varint(message.hintTerm);
      break;
    case 'heartbeat':
      writer.varint(message.committed).varint(message.round);
      break;
    case 'heartbeatResponse':
      writer.varint(message.round);
      break;
    case 'snapshot': {
      const { index, term, stampMs, configuration } = message.snapshot;
      writer.varint(index).varint(term).varint(stampMs);
      writeConfiguration(writer, configuration);
      break;
    }
    case 'timeoutNow':
      break;
    case 'readIndex':
      writer.varint(message.id);
      break;
    case 'readIndexResponse':
      writer.varint(message.id).varint(message.index);
      break;
  }
}

function writeAppend(writer: VarintWriter, append: Append): void {
  writer.varint(append.prevIndex).varint(append.prevTerm).varint(append.committed);
  writer.varint(append.entries.length);
  for (const { term, stampMs, kind, version, payload } of append.entries) {
    writer.u8(kind).u8(version).varint(term).varint(stampMs).bytes(payload);
  }
}

function readMessage(reader: VarintReader, type: Message['type']): Message {
  const from = reader.varint();
  const to = reader.varint();
  const address = { from, to, term: reader.varint() };
  if (from === 0 || to === 0) throw new RangeError(`message ${type} from ${from} to ${to}`);
  switch (type) {
    case 'preVote':
      return { type, ...address, lastIndex: reader.varint(), lastTerm: reader.varint() };
    case 'vote': {
      const last = { lastIndex: reader.varint(), lastTerm: reader.varint() };
      return { type, ...address, ...last, isTransfer: readFlag(reader) };
    }
    case 'preVoteResponse':
    case 'voteResponse':
      return { type, ...address, granted: readFlag(reader) };
    case 'append':
      return readAppend(reader, address);
    case 'appendAccepted':
      return { type, ...address, index: reader.varint() };
    case 'appendRejected': {
      const prevIndex = reader.varint();
      return { type, ...address, prevIndex, hintIndex: reader.varint(), hintTerm: reader.varint() };
    }
    case 'heartbeat':
      return { type, ...address, committed: reader.varint(), round: reader.varint() };
    case 'heartbeatResponse':
      return { type, ...address, round: reader.varint() };
    case 'snapshot': {
      const point = { index: reader.varint(), term: reader.varint(), stampMs: reader.varint() };
      return { type, ...address, snapshot: { ...point, configuration: readConfiguration(reader) } };
    }
    case 'timeoutNow':
      return { type, ...address };
    case 'readIndex':
      return { type, ...address, id: reader.varint() };
    case 'readIndexResponse':
      return { type, ...address, id: reader.varint(), index: reader.varint() };
  }
}

/** Indexes are not sent: they follow `prevIndex`. Terms must not fall, nor exceed the leader's. */
function readAppend(reader: VarintReader, address: Addressed): Append {
  const prevIndex = reader.varint();
  const prevTerm = reader.varint();
  const committed = reader.varint();
  const count = reader.count(MIN_ENTRY_BYTES);
  const entries: Entry[] = [];
  let lastTerm = prevTerm;
  for (let index = prevIndex + 1; index <= prevIndex + count; index++) {
    const kind = reader.u8();
    const version = reader.u8();
    const term = reader.varint();
    if (term < lastTerm || term > address.term)
      throw new RangeError(`entry ${index} of term ${term} after ${lastTerm}`);
    lastTerm = term;
    entries.push({ index, term, stampMs: reader.varint(), kind, version, payload: reader.bytes() });
  }
  return { type: 'append', ...address, prevIndex, prevTerm, committed, entries };
}

function readFlag(reader: VarintReader): boolean {
  const flag = reader.u8();
  if (flag > 1) throw new RangeError(`flag is ${flag}`);
  return flag === 1;
}
