/**
 * The messages that move a snapshot's rows. The receiver asks for one part after another,
 * so a slow one is never sent more than it asked for, and a lost message is asked for again.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { SnapshotRow } from '../storage/row-store.ts';

/** Which snapshot. */
export interface SnapshotName {
  readonly group: number;
  readonly index: number;
  readonly term: number;
}

/** Asks for a part, counted from 0; the one after the last says that all of them have come. */
export interface SnapshotRequest extends SnapshotName {
  readonly part: number;
}

export interface SnapshotPart extends SnapshotRequest {
  readonly isLast: boolean;
  readonly rows: readonly SnapshotRow[];
}

export function encodeRequest(request: SnapshotRequest): Buffer {
  return writeName(new ByteWriter(28), request).finish();
}

export function decodeRequest(body: Uint8Array): SnapshotRequest {
  return readName(new ByteReader(body));
}

export function encodePart(part: SnapshotPart): Buffer {
  let bytes = 64;
  for (const [rest, content] of part.rows) bytes += 8 + rest.length + content.byteLength;
  const writer = writeName(new ByteWriter(bytes), part).u8(part.isLast ? 1 : 0);
  for (const [rest, content] of part.rows) writer.latin1(rest).bytes(content);
  return writer.finish();
}

/** RangeError when the body is not a part. */
export function decodePart(body: Uint8Array): SnapshotPart {
  const reader = new ByteReader(body);
  const name = readName(reader);
  const isLast = reader.u8() === 1;
  const rows: SnapshotRow[] = [];
  while (!reader.done) rows.push([reader.latin1(), reader.bytes()]);
  return { ...name, isLast, rows };
}

function writeName(writer: ByteWriter, { group, index, term, part }: SnapshotRequest): ByteWriter {
  return writer.u64(group).u64(index).u64(term).u32(part);
}

function readName(reader: ByteReader): SnapshotRequest {
  return { group: reader.u64(), index: reader.u64(), term: reader.u64(), part: reader.u32() };
}
