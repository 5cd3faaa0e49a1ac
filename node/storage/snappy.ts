/**
 * Snappy's block format, decoding only: LevelDB compresses the index blocks of its tables
 * with it, and they say where the other blocks are. Format: `format_description.txt` of
 * the snappy library.
 */

/** The plain bytes of a snappy block. RangeError when it is not one. */
export function inflateIndex(input: Buffer): Buffer {
  let at = 0;
  let size = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = input.readUInt8(at++);
    size += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) break;
    if (shift > 28) throw new RangeError('snappy: no length');
  }
  if (size > 64 * 1024 * 1024) throw new RangeError(`snappy: ${size} bytes`);
  const output = Buffer.alloc(size);
  let written = 0;
  while (at < input.length) {
    const tag = input[at++]!;
    if ((tag & 3) === 0) {
      let length = (tag >> 2) + 1;
      if (length > 60) {
        const bytes = length - 60;
        length = input.readUIntLE(at, bytes) + 1;
        at += bytes;
      }
      if (at + length > input.length || written + length > size)
        throw new RangeError('snappy: literal beyond the end');
      input.copy(output, written, at, at + length);
      at += length;
      written += length;
      continue;
    }
    const [length, distance, end] = readCopy(input, tag, at);
    at = end;
    if (distance === 0 || distance > written || written + length > size)
      throw new RangeError('snappy: copy beyond the end');
    // Byte by byte: a copy may reach into what it writes.
    for (let i = 0; i < length; i++, written++) output[written] = output[written - distance]!;
  }
  if (written !== size) throw new RangeError('snappy: too short');
  return output;
}

function readCopy(input: Buffer, tag: number, at: number): [length: number, distance: number, end: number] {
  if ((tag & 3) === 1) return [((tag >> 2) & 7) + 4, ((tag >> 5) << 8) | input.readUInt8(at), at + 1];
  if ((tag & 3) === 2) return [(tag >> 2) + 1, input.readUInt16LE(at), at + 2];
  return [(tag >> 2) + 1, input.readUInt32LE(at), at + 4];
}
