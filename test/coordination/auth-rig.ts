/** A node's services behind the authoriser, called as a transport would; hashes are cheap, and counted. */
import { createHash } from 'node:crypto';
import type {
  DescMessage,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { HoldfastError } from '../../client/error.ts';
import { AuthKind, type AuthCommand } from '../../node/coordination/auth-command.ts';
import { FROM_KEY, PermissionKind } from '../../node/coordination/auth-permission.ts';
import type { AuthSettings } from '../../node/coordination/auth.ts';
import type { Engine } from '../../node/main/engine.ts';
import { engineServices } from '../../node/main/node-services.ts';
import { accessRules } from '../../node/services/access-rules.ts';
import { Access } from '../../node/services/access.ts';
import { guardedService } from '../../node/services/guarded-service.ts';
import type { CallContext, ServedService } from '../../node/services/handler.ts';
import { SimulatedNode, type NodeSettings } from '../simulation/simulated-node.ts';

export const ROOT_PASSWORD = 'the password of root';

export class AuthRig {
  readonly node: SimulatedNode;
  readonly engine: Engine;
  readonly services: readonly ServedService[];
  readonly stopping = new AbortController();
  /** What was hashed, in order: the salt and what it cost. */
  readonly hashed: { readonly salt: string; readonly cost: string }[];

  private constructor(node: SimulatedNode, engine: Engine, hashed: AuthRig['hashed']) {
    this.node = node;
    this.engine = engine;
    this.hashed = hashed;
    const rules = accessRules(() => engine.sessions);
    const surroundings = { clock: node.clock, stopping: this.stopping.signal, observe: () => undefined };
    this.services = engineServices(() => engine, surroundings).map((one) => guardedService(one, rules));
  }

  /** Permissions are not asked for yet. */
  static async open(auth?: AuthSettings, settings: NodeSettings = {}): Promise<AuthRig> {
    const hashed: AuthRig['hashed'] = [];
    const node: SimulatedNode = new SimulatedNode('auth', {
      ...settings,
      ...(auth && { auth }),
      passwordHash: async (password, salt, cost, bytes) => {
        hashed.push({ salt: Buffer.from(salt).toString('hex'), cost: JSON.stringify(cost) });
        return createHash('sha512').update(salt).update(password).digest().subarray(0, bytes);
      },
    });
    return new AuthRig(node, await node.run(node.start()), hashed);
  }

  /** With root, and permissions asked for. */
  static async enabled(auth?: AuthSettings): Promise<AuthRig> {
    const rig = await AuthRig.open(auth);
    await rig.addUser('root', ROOT_PASSWORD, 'root');
    await rig.run(rig.engine.auth.enable(rig.terms));
    return rig;
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.node.run(work);
  }

  /** Lets time go by. */
  async pass(ms: number): Promise<void> {
    await this.node.run(new Promise<void>((resolve) => this.node.clock.setTimer(ms, resolve)), ms + 1_000);
  }

  /** What a node does by itself is let in: as somebody with root would be. */
  get terms() {
    const { auth } = this.engine;
    const grant = { revision: auth.part.state.revision, renew: () => undefined };
    return { deadlineMs: this.node.clock.monotonicMs() + 20_000, isRouted: false, grant };
  }

  change(command: AuthCommand): Promise<number> {
    return this.run(this.engine.auth.change(command, this.terms));
  }

  async addUser(user: string, password: string, ...roles: string[]): Promise<void> {
    const { auth } = this.engine;
    await this.run(auth.setPassword(AuthKind.addUser, user, Buffer.from(password), this.terms));
    for (const role of roles) await this.change({ kind: AuthKind.grantRole, user, role });
  }

  /** A role that may read and write all keys from `key` up to `rangeEnd`. */
  async addRole(
    role: string,
    ...ranges: [key: string, rangeEnd: string, kind?: PermissionKind][]
  ): Promise<void> {
    await this.change({ kind: AuthKind.addRole, role });
    for (const [key, rangeEnd, kind = PermissionKind.readwrite] of ranges)
      await this.change({
        kind: AuthKind.grantPermission,
        role,
        permission: { kind, key, rangeEnd: rangeEnd === '*' ? FROM_KEY : rangeEnd },
      });
  }

  login(user: string, password: string, peer = '10.0.0.1', withinMs = 20_000): Promise<string> {
    const deadlineMs = this.node.clock.monotonicMs() + withinMs;
    return this.run(this.engine.auth.login(user, Buffer.from(password), peer, { deadlineMs }));
  }

  context(token?: string): CallContext {
    const access = new Access(this.engine.auth, token);
    return {
      deadlineMs: this.node.clock.monotonicMs() + 20_000,
      signal: this.stopping.signal,
      isRouted: false,
      principal: access.name,
      access,
      grant: access,
      peer: () => '10.0.0.1',
      requestId: '',
      traceparent: undefined,
      budget: {
        tryTake: () => true,
        give: () => undefined,
        refusal: () => new HoldfastError({ reason: 'OVERLOADED', message: 'full' }),
      },
    };
  }

  handler(service: DescService, name: string): (...inputs: unknown[]) => unknown {
    const served = this.services.find((one) => one.service.typeName === service.typeName)!;
    return served.handlers[name] as (...inputs: unknown[]) => unknown;
  }

  /** Calls a unary method; undefined: without a token. */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    token: string | undefined,
    request: MessageInitShape<I>,
    context = this.context(token),
  ): Promise<MessageShape<O>> {
    const handler = this.handler(method.parent, method.localName);
    return this.run(handler(context, create(method.input, request)) as Promise<MessageShape<O>>);
  }

  /** The reason that a unary call is refused for; undefined: it is not. */
  async refused<I extends DescMessage>(
    method: DescMethodUnary<I, DescMessage>,
    token: string | undefined,
    request: MessageInitShape<I>,
  ): Promise<string | undefined> {
    return reasonOf(this.call(method, token, request));
  }
}

export async function reasonOf(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof HoldfastError) return error.reason;
    throw error;
  }
}
