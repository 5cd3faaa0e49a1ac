/**
 * The first record of every segment: what the log knows of each group at that point.
 * With it the segments before can be removed without losing a vote, and a reader can
 * tell whether what is left is complete.
 */
import { ByteReader, ByteWriter } from './byte-codec.ts';
import { RecordType, type LogRecord } from './log-format.ts';

/** What the log knows of a group. */
export interface GroupLogState {
  readonly term: number;
  /** Node voted for in `term`; 0: none. */
  readonly vote: number;
  /** Last entry in the log. */
  readonly lastIndex: number;
  /** The ordered store durably holds the group's rows up to this entry. */
  readonly storedIndex: number;
  /** Encoded membership; empty while groups have one member. */
  readonly configuration: Uint8Array;
}

/** State of a group of which the log has no record. */
export const EMPTY_GROUP: GroupLogState = {
  term: 0,
  vote: 0,
  lastIndex: 0,
  storedIndex: 0,
  configuration: new Uint8Array(0),
};

/** The decoded first record of a segment. */
export interface SegmentOpening {
  readonly segment: number;
  readonly storeMark: number;
  readonly groups: ReadonlyMap<number, GroupLogState>;
  /** The newest record of each peer, by its number. */
  readonly peers: ReadonlyMap<number, Uint8Array>;
}

/** The first version ends after the groups. */
const VERSION = 2;

/** Makes the first record of a segment. */
export function encodeOpening(opening: SegmentOpening): LogRecord {
  const writer = new ByteWriter();
  writer.u64(opening.segment).u64(opening.storeMark).u32(opening.groups.size);
  for (const [group, state] of opening.groups) {
    writer.u64(group).u64(state.term).u64(state.vote).u64(state.lastIndex).u64(state.storedIndex);
    writer.bytes(state.configuration);
  }
  writer.u32(opening.peers.size);
  for (const [peer, payload] of opening.peers) writer.u64(peer).bytes(payload);
  return {
    type: RecordType.opening,
    group: 0,
    term: 0,
    index: opening.segment,
    stampMs: 0,
    kind: 0,
    version: VERSION,
    payload: writer.finish(),
  };
}

/** Decodes the first record of a segment; RangeError when it is not one. */
export function decodeOpening(record: LogRecord): SegmentOpening {
  if (record.version < 1 || record.version > VERSION)
    throw new RangeError(`segment opening of unknown version ${record.version}`);
  const reader = new ByteReader(record.payload);
  const segment = reader.u64();
  const storeMark = reader.u64();
  const groups = new Map<number, GroupLogState>();
  for (let left = reader.u32(); left > 0; left--) {
    const group = reader.u64();
    groups.set(group, {
      term: reader.u64(),
      vote: reader.u64(),
      lastIndex: reader.u64(),
      storedIndex: reader.u64(),
      configuration: Uint8Array.from(reader.bytes()),
    });
  }
  const peers = new Map<number, Uint8Array>();
  if (record.version > 1) {
    for (let left = reader.u32(); left > 0; left--) peers.set(reader.u64(), Uint8Array.from(reader.bytes()));
  }
  return { segment, storeMark, groups, peers };
}
