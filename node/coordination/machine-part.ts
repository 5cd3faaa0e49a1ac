/**
 * How the parts of the coordination state machine plug in. A part is a class over rows of
 * group 0 that have a family letter of its own. To add one:
 *
 *  - give its commands numbers in `CoordinationKind` (coordination-command.ts), and encode them
 *    with `encodeCommand`, which puts the client's identity before what the part writes;
 *  - implement `MachinePart`, and make it in the constructor of `CoordinationMachine`;
 *  - tell what is applied through `CoordinationEvents` (coordination-events.ts);
 *  - say in refusal-error.ts what a refusal of its own means to a caller.
 *
 * Its driver proposes with `Coordination.propose`, and reads the part through
 * `coordination.machine`: anew for each read, since a snapshot puts another machine in place.
 */
import type { ByteReader } from '../storage/byte-codec.ts';
import type { LiveRow, RowStore } from '../storage/row-store.ts';
import type { Outcome } from './refusal.ts';

export type { LiveRow };

/** The rows that a part works on. */
export type PartRows = Pick<RowStore, 'get' | 'put' | 'delete' | 'live' | 'putLive' | 'range'>;

/** What a part is given with each command. */
export interface Applying {
  /** Log time. */
  readonly stampMs: number;
  /** Of the last change. */
  readonly revision: number;
  /** Gives out the next one. */
  nextRevision(): number;
}

/** Some kinds of commands, applied to some rows. Deterministic, and done within 10 ms. */
export interface MachinePart {
  /** Kinds of commands that it takes. */
  readonly kinds: readonly number[];
  /** What a command says, for `apply`. Byte strings are views of the command. Error: RangeError, it cannot be applied. */
  parse(kind: number, reader: ByteReader): unknown;
  /** Carries out a command: its outcome, encoded, or a refusal that has changed nothing. */
  apply(kind: number, body: unknown, applying: Applying): Outcome;
}
