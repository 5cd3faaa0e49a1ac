/** A call that may wait: begun, and looked at later. */
import {
  create,
  type DescMessage,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import { HoldfastError } from '../../client/error.ts';
import type { AuthRig } from './auth-rig.ts';

export class BegunCall<O extends DescMessage> {
  /** Undefined: it has not been answered. */
  answer: MessageShape<O> | undefined;
  /** Status and text that it failed with. */
  failure: string | undefined;
  readonly #caller: AbortController;

  private constructor(caller: AbortController, work: Promise<MessageShape<O>>) {
    this.#caller = caller;
    work.then(
      (answer) => (this.answer = answer),
      (error: unknown) => (this.failure = told(error)),
    );
  }

  static begin<I extends DescMessage, O extends DescMessage>(
    rig: AuthRig,
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    token?: string,
  ): BegunCall<O> {
    const caller = new AbortController();
    const context = { ...rig.context(token), signal: caller.signal };
    const handler = rig.handler(method.parent, method.localName);
    return new BegunCall(caller, handler(context, create(method.input, request)) as Promise<MessageShape<O>>);
  }

  get isOver(): boolean {
    return this.answer !== undefined || this.failure !== undefined;
  }

  /** The caller hears no more. */
  giveUp(): void {
    this.#caller.abort(new HoldfastError({ reason: 'CANCELLED', message: 'the caller has given up' }));
  }
}

/** The answers of a stream as they come. */
export class BegunStream<O extends DescMessage> {
  readonly answers: MessageShape<O>[] = [];
  /** `OK`, or status and text; undefined: it goes on. */
  end: string | undefined;
  readonly #caller = new AbortController();

  static begin<I extends DescMessage, O extends DescMessage>(
    rig: AuthRig,
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    token?: string,
  ): BegunStream<O> {
    const stream = new BegunStream<O>();
    const context = { ...rig.context(token), signal: stream.#caller.signal };
    const handler = rig.handler(method.parent, method.localName);
    void stream.#read(handler(context, create(method.input, request)) as AsyncIterable<MessageShape<O>>);
    return stream;
  }

  giveUp(): void {
    this.#caller.abort(new HoldfastError({ reason: 'CANCELLED', message: 'the caller has given up' }));
  }

  async #read(answers: AsyncIterable<MessageShape<O>>): Promise<void> {
    try {
      for await (const answer of answers) this.answers.push(answer);
      this.end = 'OK';
    } catch (error) {
      this.end = told(error);
    }
  }
}

function told(error: unknown): string {
  return error instanceof HoldfastError ? `${error.code} ${error.message}` : String(error);
}
