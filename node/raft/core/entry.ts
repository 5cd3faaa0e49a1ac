/** Entries of a replicated log. */

/** What an entry holds; never reused for another meaning. */
export const EntryKind = {
  /** Nothing: begins a term. */
  noOp: 1,
  /** Commands for the state machine. */
  commands: 2,
  /** Nothing but its stamp: moves log time on. */
  time: 3,
  /** The members of the group from here on, see `encodeConfiguration`. */
  configuration: 4,
} as const;

/** Version of what the kinds above mean. */
export const ENTRY_VERSION = 1;

/** What is to become an entry. */
export interface NewEntry {
  readonly kind: number;
  readonly version: number;
  readonly payload: Uint8Array;
}

/** An entry of a group's log. */
export interface Entry extends NewEntry {
  readonly index: number;
  readonly term: number;
  /** Log time: the greater of the previous stamp and the leader's clock, ms since 1970. */
  readonly stampMs: number;
}

/** What an entry costs beside its payload, so that empty ones are bounded too. */
const ENTRY_OVERHEAD_BYTES = 32;

/** What an entry counts for in every bound of the core. */
export function entryBytes(entry: NewEntry): number {
  return ENTRY_OVERHEAD_BYTES + entry.payload.byteLength;
}

/** How many of the entries from `start` on fit into `maxBytes`; at least one, if there is one. */
export function countFitting(entries: readonly NewEntry[], start: number, maxBytes: number): number {
  let bytes = 0;
  let end = start;
  while (end < entries.length) {
    bytes += entryBytes(entries[end]!);
    if (bytes > maxBytes && end > start) break;
    end++;
  }
  return end - start;
}
