/** One node's services of etcd's API, called as a transport would, and streams of them. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import type { KeyValue } from '@holdfast/proto/etcd/kv';
import {
  DeleteRangeRequestSchema,
  KV,
  Lease,
  PutRequestSchema,
  RangeRequestSchema,
  TxnRequestSchema,
  Watch,
  WatchCancelRequestSchema,
  WatchCreateRequestSchema,
  WatchProgressRequestSchema,
  type RequestOp,
  type WatchRequest,
} from '@holdfast/proto/etcd/rpc';
import { expect } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import type { MessageStream } from '../../node/services/handler.ts';
import type { NodeSettings } from '../simulation/simulated-node.ts';
import { AuthRig } from './auth-rig.ts';

export const kv = KV.method;
export const lease = Lease.method;

export function bytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(text));
}

export function text(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString();
}

export const EVERYTHING = '\0';

/** A key in short: key=value, when it came into being, when it changed last, how often. */
export function shortKey(
  { key, value, createRevision, modRevision, version }: KeyValue,
  from: bigint,
): string {
  return `${text(key)}=${text(value)} ${createRevision - from} ${modRevision - from} ${version}`;
}

type Keyed<S extends DescMessage> = Omit<MessageInitShape<S>, 'key' | 'rangeEnd' | 'value' | '$typeName'>;

/** Requests with keys that are written as text. */
export const ask = {
  put: (key: string, value = '', more: Keyed<typeof PutRequestSchema> = {}) =>
    create(PutRequestSchema, { key: bytes(key), value: bytes(value), ...more }),
  range: (key: string, rangeEnd = '', more: Keyed<typeof RangeRequestSchema> = {}) =>
    create(RangeRequestSchema, { key: bytes(key), rangeEnd: bytes(rangeEnd), ...more }),
  delete: (key: string, rangeEnd = '', more: Keyed<typeof DeleteRangeRequestSchema> = {}) =>
    create(DeleteRangeRequestSchema, { key: bytes(key), rangeEnd: bytes(rangeEnd), ...more }),
};

type Operation = Pick<RequestOp, 'request'>;

/** Operations of transactions. */
export const op = {
  put: (...put: Parameters<typeof ask.put>): Operation => ({
    request: { case: 'requestPut', value: ask.put(...put) },
  }),
  range: (...range: Parameters<typeof ask.range>): Operation => ({
    request: { case: 'requestRange', value: ask.range(...range) },
  }),
  delete: (...given: Parameters<typeof ask.delete>): Operation => ({
    request: { case: 'requestDeleteRange', value: ask.delete(...given) },
  }),
  txn: (txn: MessageInitShape<typeof TxnRequestSchema>): Operation => ({
    request: { case: 'requestTxn', value: create(TxnRequestSchema, txn) },
  }),
};

/** What a client says on a watch stream. */
export const say = {
  create: (
    key: string,
    rangeEnd = '',
    more: Omit<MessageInitShape<typeof WatchCreateRequestSchema>, 'key' | 'rangeEnd' | '$typeName'> = {},
  ) => ({
    requestUnion: {
      case: 'createRequest' as const,
      value: create(WatchCreateRequestSchema, { key: bytes(key), rangeEnd: bytes(rangeEnd), ...more }),
    },
  }),
  cancel: (watchId: bigint) => ({
    requestUnion: { case: 'cancelRequest' as const, value: create(WatchCancelRequestSchema, { watchId }) },
  }),
  progress: (): Pick<WatchRequest, 'requestUnion'> => ({
    requestUnion: { case: 'progressRequest', value: create(WatchProgressRequestSchema) },
  }),
};

export class EtcdRig {
  readonly rig: AuthRig;
  token: string | undefined;

  private constructor(rig: AuthRig) {
    this.rig = rig;
  }

  static async open(settings: NodeSettings = {}): Promise<EtcdRig> {
    return new EtcdRig(await AuthRig.open(undefined, settings));
  }

  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    token = this.token,
  ): Promise<MessageShape<O>> {
    return this.rig.call(method, token, request);
  }

  /** Status and text of a failure; undefined: it was done. */
  async told<I extends DescMessage>(
    method: DescMethodUnary<I, DescMessage>,
    request: MessageInitShape<I>,
    token = this.token,
  ): Promise<string | undefined> {
    try {
      await this.call(method, request, token);
      return undefined;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return `${error.code} ${error.message}`;
    }
  }

  /** Puts a key, and resolves with the revision. */
  async put(...put: Parameters<typeof ask.put>): Promise<bigint> {
    const { header } = await this.call(kv.put, ask.put(...put));
    return header!.revision;
  }

  /** Keys with their values. */
  async values(...range: Parameters<typeof ask.range>): Promise<string[]> {
    const { kvs } = await this.call(kv.range, ask.range(...range));
    return kvs.map(({ key, value }) => `${text(key)}=${text(value)}`);
  }

  /** Opens a stream. */
  open<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O>,
    token = this.token,
  ): EtcdCaller<I, O> {
    const caller = new EtcdCaller(this.rig, method);
    this.rig.handler(method.parent, method.localName)(this.rig.context(token), caller);
    return caller;
  }

  watch(token = this.token): EtcdCaller<typeof Watch.method.watch.input, typeof Watch.method.watch.output> {
    return this.open(Watch.method.watch, token);
  }
}

/** The caller's end of a stream. */
export class EtcdCaller<I extends DescMessage, O extends DescMessage> implements MessageStream {
  /** Whether it reads. */
  reads = true;
  isPaused = false;
  unsentBytes = 0;
  /** How it ended; undefined: it has not. */
  ended: { readonly error: Error | undefined } | undefined;
  readonly #rig: AuthRig;
  readonly #method: DescMethodBiDiStreaming<I, O>;
  #said: MessageShape<O>[] = [];
  #receive: (message: Buffer) => void = () => undefined;
  #drained: () => void = () => undefined;
  #closed: () => void = () => undefined;
  #noMore: () => void = () => undefined;

  constructor(rig: AuthRig, method: DescMethodBiDiStreaming<I, O>) {
    this.#rig = rig;
    this.#method = method;
  }

  onMessage(receive: (message: Buffer) => void): void {
    this.#receive = receive;
  }
  onEnd(ended: () => void): void {
    this.#noMore = ended;
  }
  onClose(closed: () => void): void {
    this.#closed = closed;
  }
  onDrain(drained: () => void): void {
    this.#drained = drained;
  }
  send(message: Uint8Array): boolean {
    expect(this.ended).toBeUndefined();
    const response = fromBinary(this.#method.output, message);
    expect(response.$unknown).toBeUndefined();
    this.#said.push(response);
    if (!this.reads) this.unsentBytes += message.byteLength;
    return this.reads;
  }
  pause(): void {
    this.isPaused = true;
  }
  resume(): void {
    this.isPaused = false;
  }
  end(error?: Error): void {
    this.ended = { error };
    this.#closed();
  }

  say(...requests: MessageInitShape<I>[]): void {
    for (const request of requests)
      this.#receive(Buffer.from(toBinary(this.#method.input, create(this.#method.input, request))));
  }

  sayNoMore(): void {
    this.#noMore();
  }

  readAgain(): void {
    this.reads = true;
    this.unsentBytes = 0;
    this.#drained();
  }

  /** What it was told within some time; forgets it. */
  async heard(withinMs = 100): Promise<MessageShape<O>[]> {
    await this.#rig.pass(withinMs);
    const said = this.#said;
    this.#said = [];
    return said;
  }

  /** Status and text that it ended with. */
  get failure(): string | undefined {
    const error = this.ended?.error;
    return error instanceof HoldfastError ? `${error.code} ${error.message}` : error?.message;
  }
}
