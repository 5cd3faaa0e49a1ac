/**
 * HTTP/2 by hand, for what no library lets its user do: frames that are not due, not
 * finished, or far too many.
 */
import { connect, type Socket } from 'node:net';

export const FrameType = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  CONTINUATION: 9,
};
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const END_HEADERS = 4;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function encodeFrame(
  type: number,
  stream = 0,
  payload: Uint8Array = Buffer.alloc(0),
  flags = 0,
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** The headers of a gRPC call, uncompressed. */
export function callHeaders(path: string, more: Readonly<Record<string, string>> = {}): Buffer {
  const fields = {
    ':method': 'POST',
    ':scheme': 'http',
    ':path': path,
    ':authority': 'test',
    'content-type': 'application/grpc+proto',
    te: 'trailers',
    ...more,
  };
  return encodeHeaders(fields);
}

/** Any header fields, uncompressed. */
export function encodeHeaders(fields: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(Object.entries(fields).map(([name, value]) => literal(name, value)));
}

/** A header field that is not indexed, without Huffman code. */
function literal(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  for (let left = bytes.length - 127; ; left >>= 7) {
    length.push(left > 127 ? (left & 127) | 128 : left);
    if (left <= 127) return Buffer.concat([Buffer.from(length), bytes]);
  }
}

/** A connection that sends what it is told and keeps every frame that comes back. */
export class RawConnection implements Disposable {
  readonly frames: Frame[] = [];
  readonly socket: Socket;
  #rest = Buffer.alloc(0);

  constructor(address: string) {
    const [host, port] = address.split(':');
    this.socket = connect(Number(port), host).on('error', () => undefined);
    this.socket.on('data', (bytes: Buffer) => this.#take(bytes));
  }

  get isOpen(): boolean {
    return !this.socket.closed && !this.socket.destroyed;
  }

  /** The opening of a connection. */
  open(): void {
    this.socket.write(Buffer.concat([PREFACE, encodeFrame(FrameType.SETTINGS)]));
  }

  send(type: number, stream = 0, payload: Uint8Array = Buffer.alloc(0), flags = 0): boolean {
    return this.socket.write(encodeFrame(type, stream, payload, flags));
  }

  call(stream: number, path: string, more: Readonly<Record<string, string>> = {}): void {
    this.send(FrameType.HEADERS, stream, callHeaders(path, more), END_HEADERS);
  }

  /** Opens a stream with whatever headers. */
  request(stream: number, fields: Readonly<Record<string, string>>): void {
    this.send(FrameType.HEADERS, stream, encodeHeaders(fields), END_HEADERS);
  }

  /** Whether anything came back for a stream. */
  answered(stream: number): boolean {
    return this.frames.some((one) => one.stream === stream);
  }

  /** The error code with which the node said goodbye. */
  get goodbye(): { readonly code: number; readonly debug: string } | undefined {
    const frame = this.frames.find(({ type }) => type === FrameType.GOAWAY);
    return frame && { code: frame.payload.readUInt32BE(4), debug: frame.payload.subarray(8).toString() };
  }

  /** The code with which a stream was reset. */
  resetOf(stream: number): number | undefined {
    const frame = this.frames.find((one) => one.type === FrameType.RST_STREAM && one.stream === stream);
    return frame?.payload.readUInt32BE(0);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #take(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= 9) {
      const end = 9 + this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < end) return;
      const payload = this.#rest.subarray(9, end);
      const stream = this.#rest.readUInt32BE(5) & 0x7fff_ffff;
      this.frames.push({ type: this.#rest[3]!, flags: this.#rest[4]!, stream, payload });
      this.#rest = this.#rest.subarray(end);
    }
  }
}
