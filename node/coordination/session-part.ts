/** Leases, locks and elections as a part of the coordination's state machine. */
import { ByteWriter, type ByteReader } from '../storage/byte-codec.ts';
import type { RowKey } from '../storage/row-key.ts';
import type { Applying, MachinePart, PartRows } from './machine-part.ts';
import type { Outcome } from './refusal.ts';
import { SessionCommandKind, readSessionCommand, type SessionCommand } from './session-command.ts';
import { writeSessionOutcome } from './session-outcome.ts';
import { SessionState, type LeasedKeys, type SessionEvents } from './session-state.ts';

export class SessionPart implements MachinePart {
  readonly kinds = Object.values(SessionCommandKind);
  readonly state: SessionState;

  constructor(rows: PartRows, prefix: RowKey, keys: LeasedKeys, events: SessionEvents) {
    this.state = new SessionState(rows, prefix, keys, events);
  }

  parse(kind: number, reader: ByteReader): SessionCommand {
    return readSessionCommand(kind, reader);
  }

  apply(_: number, body: unknown, applying: Applying): Outcome {
    const outcome = this.state.apply(body as SessionCommand, applying);
    if ('refused' in outcome) return outcome;
    const writer = new ByteWriter(32);
    writeSessionOutcome(writer, outcome);
    return writer.finish();
  }
}
