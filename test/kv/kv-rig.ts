/** The key-value services over a simulated node, called as a transport would. */
import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import {
  BatchGetRequestSchema,
  BatchWriteRequestSchema,
  CompareAndSetRequestSchema,
  CreateRequestSchema,
  DeleteRequestSchema,
  GetRequestSchema,
  IncrementRequestSchema,
  KvService,
  PipelineRequestSchema,
  PipelineResponseSchema,
  PutRequestSchema,
  ScanRequestSchema,
  TransactRequestSchema,
  type PipelineRequest,
  type PipelineResponse,
} from '@holdfast/proto/kv/v1/kv';
import { KeyspaceService } from '@holdfast/proto/kv/v1/keyspace';
import { HoldfastError } from '../../client/error.ts';
import type { Engine } from '../../node/main/engine.ts';
import type { Handlers, MessageStream } from '../../node/services/handler.ts';
import { keyspaceService } from '../../node/services/keyspace-service.ts';
import { kvService } from '../../node/services/kv-service.ts';
import { SimulatedNode } from '../simulation/simulated-node.ts';
import { openAccess } from '../../node/services/access.ts';

type Init<S extends Parameters<typeof create>[0]> = MessageInitShape<S>;

export class KvRig {
  readonly node: SimulatedNode;
  engine!: Engine;
  kv!: Handlers<typeof KvService>;
  keyspaces!: Handlers<typeof KeyspaceService>;
  readonly observed: string[] = [];
  #stopping = new AbortController();

  private constructor(node: SimulatedNode) {
    this.node = node;
  }

  static async start(seed = 'kv'): Promise<KvRig> {
    const rig = new KvRig(new SimulatedNode(seed));
    await rig.restart();
    return rig;
  }

  /** Opens the engine anew on what is there. */
  async restart(): Promise<void> {
    this.engine = await this.node.run(this.node.start());
    const { kv, keyspaces } = this.engine;
    this.#stopping = new AbortController();
    this.kv = kvService({
      kv,
      keyspaces,
      clock: this.node.clock,
      observe: (operation, code) => this.observed.push(`${operation} ${code}`),
      stopping: this.#stopping.signal,
    }).handlers as Handlers<typeof KvService>;
    this.keyspaces = keyspaceService(keyspaces).handlers as Handlers<typeof KeyspaceService>;
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.node.run(work);
  }

  context() {
    return {
      deadlineMs: Infinity,
      isRouted: true,
      signal: new AbortController().signal,
      principal: 'test',
      access: openAccess(),
      grant: openAccess(),
      peer: () => '',
      requestId: '',
      traceparent: undefined,
      budget: {
        tryTake: () => true,
        give: () => undefined,
        refusal: () => new HoldfastError({ reason: 'OVERLOADED', message: 'full' }),
      },
    };
  }

  put = (init: Init<typeof PutRequestSchema>) =>
    this.run(
      this.kv.put(this.context(), create(PutRequestSchema, { keyspace: 'default', ...init } as never)),
    );
  get = (init: Init<typeof GetRequestSchema>) =>
    this.run(
      this.kv.get(this.context(), create(GetRequestSchema, { keyspace: 'default', ...init } as never)),
    );
  create = (init: Init<typeof CreateRequestSchema>) =>
    this.run(
      this.kv.create(this.context(), create(CreateRequestSchema, { keyspace: 'default', ...init } as never)),
    );
  compareAndSet = (init: Init<typeof CompareAndSetRequestSchema>) =>
    this.run(
      this.kv.compareAndSet(
        this.context(),
        create(CompareAndSetRequestSchema, { keyspace: 'default', ...init } as never),
      ),
    );
  increment = (init: Init<typeof IncrementRequestSchema>) =>
    this.run(
      this.kv.increment(
        this.context(),
        create(IncrementRequestSchema, { keyspace: 'default', ...init } as never),
      ),
    );
  delete = (init: Init<typeof DeleteRequestSchema>) =>
    this.run(
      this.kv.delete(this.context(), create(DeleteRequestSchema, { keyspace: 'default', ...init } as never)),
    );
  batchGet = (init: Init<typeof BatchGetRequestSchema>) =>
    this.run(
      this.kv.batchGet(
        this.context(),
        create(BatchGetRequestSchema, { keyspace: 'default', ...init } as never),
      ),
    );
  batchWrite = (init: Init<typeof BatchWriteRequestSchema>) =>
    this.run(
      this.kv.batchWrite(
        this.context(),
        create(BatchWriteRequestSchema, { keyspace: 'default', ...init } as never),
      ),
    );
  transact = (init: Init<typeof TransactRequestSchema>) =>
    this.run(
      this.kv.transact(
        this.context(),
        create(TransactRequestSchema, { keyspace: 'default', ...init } as never),
      ),
    );

  /** All messages of a scan. */
  async scan(init: Init<typeof ScanRequestSchema>) {
    const request = create(ScanRequestSchema, { keyspace: 'default', ...init } as never);
    const collect = async () => {
      const messages = [];
      for await (const message of this.kv.scan(this.context(), request)) messages.push(message);
      return messages;
    };
    return this.run(collect());
  }

  /** Opens a pipeline stream. */
  pipeline(): TestStream {
    const stream = new TestStream();
    this.kv.pipeline(this.context(), stream);
    return stream;
  }

  stopStreams(): void {
    this.#stopping.abort();
  }
}

/** The transport's side of a pipeline. */
export class TestStream implements MessageStream {
  readonly answers: PipelineResponse['results'][number][] = [];
  messages = 0;
  /** What `send` returns: whether there is room. */
  hasRoom = true;
  paused = false;
  ended = false;
  error: Error | undefined;
  take: (message: PipelineRequest) => void = () => undefined;
  takeBytes: (message: Buffer) => void = () => undefined;
  halfClose: () => void = () => undefined;
  drain: () => void = () => undefined;
  closed: () => void = () => undefined;

  onMessage(receive: (message: Buffer) => void): void {
    this.take = (message) => receive(Buffer.from(toBinary(PipelineRequestSchema, message)));
    this.takeBytes = receive;
  }
  onEnd(ended: () => void): void {
    this.halfClose = ended;
  }
  onClose(closed: () => void): void {
    this.closed = closed;
  }
  readonly unsentBytes = 0;

  onDrain(drained: () => void): void {
    this.drain = drained;
  }
  send(message: Uint8Array): boolean {
    this.messages++;
    this.answers.push(...fromBinary(PipelineResponseSchema, message).results);
    return this.hasRoom;
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  end(error?: Error): void {
    this.ended = true;
    this.error = error;
    this.closed();
  }
}

export const bytes = (text: string) => Buffer.from(text);
export const text = (value: Uint8Array | undefined) =>
  value === undefined ? undefined : Buffer.from(value).toString();
