/**
 * Finds out which nodes there are, and which of them seem alive, from whichever node answers:
 * so that a client that was given one address goes on with the others when that node is gone.
 *
 *  1. It only adds to what the client was given, and changes the order in which nodes are asked.
 *  2. A node that takes most of the members for gone is more likely cut off itself: nobody is
 *     doubted for what it says.
 */
import { sleep, type Timer } from './clock.ts';
import type { ClientCore } from './core.ts';
import type { ToldNode } from './endpoints.ts';
import type { MemberStatus } from './member-status.ts';
import { followMembers } from './member-stream.ts';

/** A client that is done by then asks for nothing more. */
const DELAY_MS = 200;
/** After a node that does not tell, which may be an older one. */
const RETRY_MS = 30_000;

export class Discovery {
  readonly #core: ClientCore;
  readonly #delay: Timer;

  /** Begins soon; ends when the client closes. */
  constructor(core: ClientCore) {
    this.#core = core;
    this.#delay = core.clock.setTimer(DELAY_MS, () => void this.#follow());
    core.closing.addEventListener('abort', () => this.#delay.cancel(), { once: true });
  }

  async #follow(): Promise<void> {
    const { closing, clock, endpoints } = this.#core;
    while (!closing.aborted) {
      try {
        for await (const { members } of followMembers(this.#core, undefined))
          endpoints.learn(toldNodes(members));
      } catch {
        // It only helps: calls go on with what is known.
        await sleep(clock, RETRY_MS, closing).catch(() => undefined);
      }
    }
  }
}

/** Invariant 2. */
function toldNodes(members: readonly MemberStatus[]): ToldNode[] {
  const alive = members.filter(({ liveness }) => liveness === 'alive');
  const isTrusted = alive.length > members.length / 2;
  return members
    .filter(({ grpc }) => grpc !== '')
    .map(({ grpc, liveness }) => ({ endpoint: grpc, isAlive: liveness === 'alive' || !isTrusted }));
}
