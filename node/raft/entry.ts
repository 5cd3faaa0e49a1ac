/** Entries of a replicated log, and how many commands share one. */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';

export { ENTRY_VERSION, EntryKind, type Entry } from './core/entry.ts';

/** A command for a state machine. What `kind` and `version` mean never changes. */
export interface Command {
  readonly kind: number;
  readonly version: number;
  readonly bytes: Uint8Array;
  /** What `bytes` say, from the proposer: the state machine here need not decode them. Others never see it. */
  readonly decoded?: unknown;
}

/** Bytes that a command takes inside an entry. */
export function commandBytes(command: Command): number {
  return 6 + command.bytes.byteLength;
}

/** The payload of an entry with these commands, in order. */
export function encodeCommands(commands: readonly Command[]): Buffer {
  let size = 0;
  for (const command of commands) size += commandBytes(command);
  const writer = new ByteWriter(size);
  for (const command of commands) writer.u8(command.kind).u8(command.version).bytes(command.bytes);
  return writer.finish();
}

/** The commands of an entry's payload; their bytes are views of it. */
export function* decodeCommands(payload: Uint8Array): Generator<Command> {
  const reader = new ByteReader(payload);
  while (!reader.done) yield { kind: reader.u8(), version: reader.u8(), bytes: reader.bytes() };
}
