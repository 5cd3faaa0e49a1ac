/**
 * Brings a node's data directory into its cluster: asks the other nodes who they are until
 * `decideFounding` says what it belongs to, and has that made durable before it is told to
 * anybody or acted upon.
 */
import { sleep, type Clock } from '@holdfast/client/clock';
import type { Transport } from '@holdfast/client/transport';
import { decideFounding, decideJoining, type Founding } from './founding.ts';
import { askIntroduction } from './introduce.ts';
import type { Introduction, Membership } from './membership.ts';

/** Between two rounds of questions. */
const ASK_EVERY_MS = 200;

/** A cluster that a node is to join. */
export interface JoinTarget {
  /** `host:port` of gRPC of some of its nodes. */
  readonly addresses: readonly string[];
  /** Asks it to take this node in; `cluster`: as one of its nodes knows it. Rejects with why it never will. */
  readonly ask: (cluster: Membership) => Promise<void>;
}

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
  /** The node joins this cluster, if it does not belong to one yet, and founds none. */
  readonly join?: JoinTarget | undefined;
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
    const { clock, save, join } = this.#options;
    while (this.#membership === undefined) {
      signal.throwIfAborted();
      const founding = this.#decide();
      if (founding.kind === 'belong') {
        await save(founding.membership);
        this.#membership = founding.membership;
        break;
      }
      this.#tell(founding.why);
      await (join === undefined ? this.#askStrangers(signal) : this.#askCluster(join, signal));
      if (this.#decide().kind === 'wait') await sleep(clock, ASK_EVERY_MS, signal);
    }
    this.#why = '';
    return this.#membership;
  }

  #decide(): Founding {
    return this.#options.join === undefined
      ? decideFounding(this.introduction, this.#heard)
      : decideJoining(this.introduction, [...this.#heard.values()]);
  }

  #askStrangers(signal: AbortSignal): Promise<unknown> {
    return Promise.all(this.#strangers().map((name) => this.#ask(name, signal)));
  }

  async #askCluster(join: JoinTarget, signal: AbortSignal): Promise<void> {
    const known = [...this.#heard.values()].find(({ membership }) => membership !== undefined)?.membership;
    const members = known?.members.map(({ grpc }) => grpc).filter((address) => address !== '') ?? [];
    const addresses = new Set([...join.addresses, ...members]);
    addresses.delete(this.#options.self.grpc);
    await Promise.all([...addresses].map((address) => this.#askAt(address, signal)));
    const decision = this.#decide();
    if (decision.kind === 'wait' && known !== undefined) await join.ask(known);
  }

  /** Whoever is there, under its address: its name is not known. */
  async #askAt(address: string, signal: AbortSignal): Promise<void> {
    const { transport, self } = this.#options;
    const introduction = await askIntroduction(transport, address, self.name, signal);
    if (introduction === undefined || introduction.name === self.name) this.#heard.delete(address);
    else this.#heard.set(address, introduction);
  }

  #strangers(): string[] {
    const { name: own, nodes } = this.#options.self;
    return nodes.filter((name) => name !== own);
  }

  async #ask(name: string, signal: AbortSignal): Promise<void> {
    const { transport, addressOf, self } = this.#options;
    const introduction = await askIntroduction(transport, addressOf(name), self.name, signal);
    // Whoever comes back may come back with other data.
    if (introduction?.name === name) this.#heard.set(name, introduction);
    else this.#heard.delete(name);
  }

  #tell(why: string): void {
    if (why === this.#why) return;
    this.#why = why;
    this.#options.onWaiting(why);
  }
}
