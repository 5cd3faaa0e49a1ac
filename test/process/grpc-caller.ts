/**
 * Calls a node as a program does that has nothing but the proto files: no client checks
 * anything before it is sent, repeats it, or puts errors into better words.
 */
import * as http2 from 'node:http2';
import { create, fromBinary, toBinary, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf';
import type { DescMethodServerStreaming, DescMethodUnary, MessageShape } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client';
import { errorFromGrpc, errorFromMessage } from '@holdfast/client/error-mapping';
import {
  KvService,
  PipelineRequestSchema,
  PipelineResponseSchema,
  type PipelineResult,
} from '@holdfast/proto/kv/v1/kv';
import { within } from './real-node.ts';

const ANSWER_MS = 20_000;

/** How a call over raw HTTP/2 ended. */
export interface RawEnd {
  /** `grpc-status`; undefined: the stream or connection was cut instead. */
  readonly status: number | undefined;
  readonly message: string;
  readonly statusDetails: Uint8Array | undefined;
  readonly messages: readonly Buffer[];
}

export class GrpcCaller implements Disposable {
  readonly #session: http2.ClientHttp2Session;

  constructor(endpoint: string) {
    this.#session = http2.connect(`http://${endpoint}`);
    this.#session.on('error', () => undefined); // shows in the calls
  }

  /** A unary call. Error: HoldfastError, with what the node said. */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    const [response] = await this.stream(method, request);
    return response!;
  }

  /** Any call with one request; all its responses. */
  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O> | DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>[]> {
    const bytes = toBinary(method.input, create(method.input, request));
    const end = await this.raw(`/${method.parent.typeName}/${method.name}`, frame(bytes));
    if (end.status !== 0) throw errorOf(end);
    return end.messages.map((message) => fromBinary(method.output, message));
  }

  /** What the node refuses; an error if it does not. */
  async refusal<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O> | DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
  ): Promise<HoldfastError> {
    const answers = await this.stream(method, request).catch((error: unknown) => error);
    if (answers instanceof HoldfastError) return answers;
    throw new Error(`${method.name} was not refused`, { cause: answers });
  }

  /** One message of a pipeline, and the answers to its calls. */
  async pipeline(request: MessageInitShape<typeof PipelineRequestSchema>): Promise<PipelineResult[]> {
    const bytes = toBinary(PipelineRequestSchema, create(PipelineRequestSchema, request));
    const end = await this.raw(`/${KvService.typeName}/Pipeline`, frame(bytes));
    if (end.status !== 0) throw errorOf(end);
    return end.messages.flatMap((message) => fromBinary(PipelineResponseSchema, message).results);
  }

  /** The error of a pipeline's only call. */
  async pipelineRefusal(request: MessageInitShape<typeof PipelineRequestSchema>): Promise<HoldfastError> {
    const [result] = await this.pipeline(request);
    if (result?.result.case === 'error') return errorFromMessage(result.result.value);
    throw new Error('the call was not refused');
  }

  /** Sends these bytes as the body of a call, and resolves when the call has ended in whatever way. */
  raw(path: string, body: Uint8Array, headers: http2.OutgoingHttpHeaders = {}): Promise<RawEnd> {
    const stream = this.open(path, headers);
    stream.end(body);
    return ended(stream);
  }

  /** A call that goes on; the caller writes frames to it. */
  open(path: string, headers: http2.OutgoingHttpHeaders = {}): http2.ClientHttp2Stream {
    return this.#session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc+proto',
      te: 'trailers',
      ...headers,
    });
  }

  [Symbol.dispose](): void {
    this.#session.destroy();
  }
}

/** A message with the five bytes that gRPC puts before it. */
export function frame(message: Uint8Array, length = message.length, flags = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flags;
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

/** How a call that was opened ends. */
export function ended(stream: http2.ClientHttp2Stream): Promise<RawEnd> {
  const chunks: Buffer[] = [];
  let fields: http2.IncomingHttpHeaders = {};
  let failure = '';
  const end = new Promise<RawEnd>((resolve) => {
    stream.on('response', (headers) => (fields = { ...fields, ...headers }));
    stream.on('trailers', (trailers) => (fields = { ...fields, ...trailers }));
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', (error) => (failure = error.message));
    stream.on('close', () => {
      const status = fields['grpc-status'];
      const details = fields['grpc-status-details-bin'];
      resolve({
        status: status === undefined ? undefined : Number(status),
        message: decodeURIComponent(String(fields['grpc-message'] ?? failure)),
        statusDetails: details === undefined ? undefined : Buffer.from(String(details), 'base64'),
        messages: unframed(Buffer.concat(chunks)),
      });
    });
  });
  return within(end, ANSWER_MS, () => 'the call does not end');
}

function unframed(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at + 5 <= bytes.length;) {
    const length = bytes.readUInt32BE(at + 1);
    messages.push(bytes.subarray(at + 5, at + 5 + length));
    at += 5 + length;
  }
  return messages;
}

function errorOf({ status, message, statusDetails }: RawEnd): HoldfastError {
  return errorFromGrpc({ code: status ?? 14, details: message, statusDetails });
}
