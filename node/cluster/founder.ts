/**
 * Brings a node's data directory into its cluster: asks the other nodes who they are until
 * `decideFounding` says what it belongs to, and has that made durable before it is told to
 * anybody or acted upon.
 */
import { create } from '@bufbuild/protobuf';
import { sleep, type Clock } from '@holdfast/client/clock';
import type { Transport } from '@holdfast/client/transport';
import {
  BootstrapService,
  IntroduceRequestSchema,
  type IntroduceResponse,
} from '@holdfast/proto/raft/v1/bootstrap';
import { decideFounding } from './founding.ts';
import { isMembership, type Introduction, type Membership } from './membership.ts';

/** Between two rounds of questions. */
const ASK_EVERY_MS = 200;
/** A node that has not answered by then is asked again. */
const ANSWER_MS = 1_000;

export interface FounderOptions {
  /** This node, and what its directory says. */
  readonly self: Introduction;
  /** Where the other nodes are reached. */
  readonly addressOf: (name: string) => string;
  readonly transport: Transport;
  readonly clock: Clock;
  /** Writes durably what the directory belongs to. */
  readonly save: (membership: Membership) => Promise<void>;
  /** Told once for each new reason. */
  readonly onWaiting: (why: string) => void;
}

export class Founder {
  readonly #options: FounderOptions;
  readonly #heard = new Map<string, Introduction>();
  #membership: Membership | undefined;
  #why = '';

  constructor(options: FounderOptions) {
    this.#options = options;
    this.#membership = options.self.membership;
  }

  /** What this node says of itself now. */
  get introduction(): Introduction {
    return { ...this.#options.self, membership: this.#membership };
  }

  /** Why the node does not belong to a cluster yet; empty: it does, or has not asked. */
  get waitsFor(): string {
    return this.#why;
  }

  /** Resolves when the directory belongs to a cluster. Rejects with the reason of `signal`. */
  async belong(signal: AbortSignal): Promise<Membership> {
    const { clock, save } = this.#options;
    while (this.#membership === undefined) {
      signal.throwIfAborted();
      const founding = decideFounding(this.introduction, this.#heard);
      if (founding.kind === 'belong') {
        await save(founding.membership);
        this.#membership = founding.membership;
        break;
      }
      this.#tell(founding.why);
      await Promise.all(this.#strangers().map((name) => this.#ask(name, signal)));
      if (decideFounding(this.introduction, this.#heard).kind === 'wait')
        await sleep(clock, ASK_EVERY_MS, signal);
    }
    this.#why = '';
    return this.#membership;
  }

  #strangers(): string[] {
    const { name: own, nodes } = this.#options.self;
    return nodes.filter((name) => name !== own);
  }

  async #ask(name: string, signal: AbortSignal): Promise<void> {
    const { transport, addressOf, self } = this.#options;
    const request = create(IntroduceRequestSchema, { from: self.name });
    const options = { timeoutMs: ANSWER_MS, signal };
    try {
      const answer = await transport.unary(
        addressOf(name),
        BootstrapService.method.introduce,
        request,
        options,
      );
      const introduction = introductionOf(answer);
      if (introduction?.name === name) this.#heard.set(name, introduction);
      else this.#heard.delete(name);
    } catch {
      this.#heard.delete(name); // whoever comes back may come back with other data
    }
  }

  #tell(why: string): void {
    if (why === this.#why) return;
    this.#why = why;
    this.#options.onWaiting(why);
  }
}

/** Undefined: what cannot be true, such as a cluster that its own teller does not belong to. */
function introductionOf({
  name,
  nodeId,
  cluster,
  nodes,
  membership,
}: IntroduceResponse): Introduction | undefined {
  const self = { name, nodeId, cluster, nodes };
  if (membership === undefined) return { ...self, membership };
  const { clusterId, members } = membership;
  const isMember = members.some((member) => member.name === name && member.nodeId === nodeId);
  return isMember && isMembership({ clusterId, members }) ? { ...self, membership } : undefined;
}
