/** Services whose callers are asked whether they may, before a handler hears of the call. */
import type { DescMessage, DescMethod, DescService, Message, MessageShape } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import type { Access, Needs } from './access.ts';
import type { CallContext, MessageStream, ServedService } from './handler.ts';

/** What a method needs. */
export interface MethodRule<I = unknown> {
  /** By what is asked for; of a stream both ways nothing is known at its beginning. */
  readonly needs: (request: I) => Needs;
  /** `read`: what is answered was read, and permissions are looked at again before it is given away. */
  readonly kind: 'read' | 'write';
}

/** A rule for every method of a service. */
export type MethodRules<S extends DescService> = {
  readonly [K in keyof S['method']]: MethodRule<RequestOf<S['method'][K]>>;
};

type RequestOf<M> = M extends { input: infer I extends DescMessage } ? MessageShape<I> : never;

/** What is known of all services: what each of their methods needs, by `package.Service/Method`. */
export class AccessRules {
  readonly #rules = new Map<string, MethodRule<Message>>();
  readonly #words = new Map<string, Words>();

  /** `words`: puts what callers are refused with into words of the service; default: as it is. */
  add<S extends DescService>(service: S, rules: MethodRules<S>, words: Words = asIs): this {
    this.#words.set(service.typeName, words);
    for (const method of service.methods)
      this.#rules.set(pathOf(method), rules[method.localName as keyof typeof rules] as MethodRule<Message>);
    return this;
  }

  /** How refusals of a service are told. */
  words({ typeName }: DescService): Words {
    return this.#words.get(typeName) ?? asIs;
  }

  /** Error: there is none, which is a defect: a method without one is not served. */
  of(method: DescMethod): MethodRule<Message> {
    const rule = this.#rules.get(pathOf(method));
    if (rule === undefined) throw new Error(`no rule says who may call ${pathOf(method)}`);
    return rule;
  }
}

/** The same error in other words. */
export type Words = (error: unknown) => unknown;

function asIs(error: unknown): unknown {
  return error;
}

function pathOf({ parent, name }: DescMethod): string {
  return `${parent.typeName}/${name}`;
}

type Unary = (context: CallContext, request: Message) => Promise<Message>;
type ServerStreaming = (context: CallContext, request: Message) => AsyncIterable<Message>;
type Bidi = (context: CallContext, stream: MessageStream) => void;

/** The service, guarded by the rules. */
export function guardedService({ service, handlers }: ServedService, rules: AccessRules): ServedService {
  const guarded: Record<string, unknown> = {};
  for (const method of service.methods) {
    const guard = new Guard(rules.of(method), rules.words(service));
    guarded[method.localName] = guard.handler(method, handlers[method.localName]);
  }
  return { service, handlers: guarded };
}

/** Stands before one handler. */
class Guard {
  readonly #rule: MethodRule<Message>;
  readonly #words: Words;

  constructor(rule: MethodRule<Message>, words: Words) {
    this.#rule = rule;
    this.#words = words;
  }

  handler(method: DescMethod, handler: unknown): unknown {
    switch (method.methodKind) {
      case 'unary':
        return this.#unary(handler as Unary);
      case 'server_streaming':
        return this.#serverStreaming(handler as ServerStreaming);
      case 'bidi_streaming':
        return this.#bidi(handler as Bidi);
      default:
        throw new Error(`${pathOf(method)}: ${method.methodKind} methods are not served`);
    }
  }

  #unary(handler: Unary): Unary {
    return async (context, request) => {
      await this.#letIn(context, request);
      const answer = await handler(context, request);
      if (this.#rule.kind === 'read') this.#confirm(context);
      return answer;
    };
  }

  /** Asks again before each part of the answer. */
  #serverStreaming(handler: ServerStreaming): ServerStreaming {
    const letIn = this.#letIn.bind(this);
    const confirm = this.#confirm.bind(this);
    return async function* (context, request) {
      await letIn(context, request);
      for await (const part of handler(context, request)) {
        confirm(context);
        yield part;
      }
    };
  }

  /** What is said on the stream its handler asks for, by `access`. */
  #bidi(handler: Bidi): Bidi {
    return (context, stream) => {
      const { access } = context;
      this.#inWords(() => {
        if (access.isAhead) throw ahead();
        access.require(() => this.#rule.needs(undefined as never));
      });
      handler(context, stream);
    };
  }

  async #letIn({ access, deadlineMs }: CallContext, request: Message): Promise<void> {
    const needed = () => this.#rule.needs(request as never);
    try {
      if (access.isAhead && needed() !== 'nothing') await access.settle(deadlineMs);
      await requireNow(access, needed, deadlineMs);
      if (!access.hasAskedLeases) return;
      await access.settle(deadlineMs);
      access.require(needed);
    } catch (error) {
      throw this.#words(error);
    }
  }

  #confirm({ access }: CallContext): void {
    this.#inWords(() => {
      try {
        access.confirm();
      } catch (error) {
        throw error instanceof HoldfastError ? error.withOutcome(undefined) : error;
      }
    });
  }

  #inWords(check: () => void): void {
    try {
      check();
    } catch (error) {
      throw this.#words(error);
    }
  }
}

/** Whoever is refused by permissions that this node has not yet seen replaced is let in by those that are. */
async function requireNow(access: Access, needs: () => Needs, deadlineMs: number): Promise<void> {
  try {
    access.require(needs);
  } catch (error) {
    try {
      await access.settle(deadlineMs);
    } catch {
      throw error; // what is known here is all that there is to go by
    }
    access.require(needs);
  }
}

/** A stream cannot be held back until the node knows more. */
function ahead(): HoldfastError {
  return new HoldfastError({
    reason: 'STARTING',
    message:
      'the token was made by permissions that are not applied on this node yet. Nothing was done; try again.',
    outcome: 'NOT_APPLIED',
    retryAfterMs: 100,
  });
}
