/** What commands resulted in, as bytes: kept for a repeat, or on the way to the node that was asked. */
import type { Reason } from '@holdfast/client/reasons';
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { CommandOutcome, MutationOutcome, Refusal, TransactOutcome } from './kv-outcome.ts';

export function encodeOutcome(outcome: CommandOutcome): Uint8Array {
  const writer = new ByteWriter(32);
  writeOutcome(writer, outcome);
  return writer.finish();
}

/** Error: RangeError. */
export function decodeOutcome(bytes: Uint8Array): CommandOutcome {
  return readOutcome(new ByteReader(bytes));
}

export function writeOutcome(writer: ByteWriter, outcome: CommandOutcome): void {
  if (outcome === undefined) writer.u8(0);
  else if ('results' in outcome) writeTransact(writer.u8(2), outcome);
  else if ('refused' in outcome) writeRefusal(writer.u8(3), outcome);
  else writeMutation(writer.u8(1), outcome);
}

export function readOutcome(reader: ByteReader): CommandOutcome {
  const kind = reader.u8();
  switch (kind) {
    case 0:
      return undefined;
    case 1:
      return readMutation(reader);
    case 2:
      return readTransact(reader);
    case 3:
      return readRefusal(reader);
  }
  throw new RangeError(`outcome of unknown kind ${kind}`);
}

function writeRefusal(writer: ByteWriter, { refused, currentVersion, actual }: Refusal): void {
  writer
    .latin1(refused)
    .u64(currentVersion ?? 0)
    .latin1(actual ?? '');
}

function readRefusal(reader: ByteReader): Refusal {
  const refused = reader.latin1() as Reason;
  const currentVersion = reader.u64() || undefined;
  return { refused, currentVersion, actual: reader.latin1() || undefined };
}

function writeMutation(writer: ByteWriter, outcome: MutationOutcome): void {
  const flags =
    (outcome.counter === undefined ? 0 : 1) |
    (outcome.existed === undefined ? 0 : 2) |
    (outcome.existed ? 4 : 0);
  writer.u8(flags).u64(outcome.version);
  if (outcome.counter !== undefined) writer.i64(outcome.counter);
}

function readMutation(reader: ByteReader): MutationOutcome {
  const flags = reader.u8();
  return {
    version: reader.u64(),
    counter: flags & 1 ? reader.i64() : undefined,
    existed: flags & 2 ? (flags & 4) !== 0 : undefined,
  };
}

function writeTransact(writer: ByteWriter, outcome: TransactOutcome): void {
  writer.u8(outcome.succeeded ? 1 : 0).u32(outcome.results.length);
  for (const result of outcome.results) {
    if (result.case === 'mutation') writeMutation(writer.u8(1), result.outcome);
    else if (result.found === undefined) writer.u8(2);
    else {
      const { version, expiresAtMs, value } = result.found;
      writer
        .u8(3)
        .bytes(result.key)
        .u64(version)
        .u64(expiresAtMs ?? 0)
        .bytes(value);
    }
  }
}

function readTransact(reader: ByteReader): TransactOutcome {
  const succeeded = reader.u8() === 1;
  const results: TransactOutcome['results'][number][] = [];
  for (let left = reader.u32(); left > 0; left--) {
    const kind = reader.u8();
    if (kind === 1) results.push({ case: 'mutation', outcome: readMutation(reader) });
    else if (kind === 2) results.push({ case: 'get', key: new Uint8Array(0), found: undefined });
    else {
      const key = Uint8Array.from(reader.bytes());
      const version = reader.u64();
      const expiresAtMs = reader.u64() || undefined;
      results.push({
        case: 'get',
        key,
        found: { version, expiresAtMs, value: Uint8Array.from(reader.bytes()) },
      });
    }
  }
  return { succeeded, results };
}
