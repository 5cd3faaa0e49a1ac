/**
 * The second phase of a run: no faults any more. Within a bound every call has ended, every
 * partition takes writes, all replicas have applied the same and hold the same rows; then
 * every key is read, all machines lose power once more, and every key is read again.
 */
import { CheckFailure } from '../../raft/check-failure.ts';
import { checkIdle, heldBy } from './bounds.ts';
import { compareReplicas } from './replicas.ts';
import type { World } from './world.ts';

/** Virtual time from the end of the faults until all is well. */
const BOUND_MS = 60_000;
/** Longest that a node goes on with what its caller has given up: a read that it cannot serve any more. */
const QUIET_MS = 2_500;
/** A call may end so much after its deadline: the ticks of the client, and its own pauses. */
const SETTLE_SLACK_MS = 1_000;

export class Recovery {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** How long it took until all was well. */
  async run(): Promise<number> {
    const { scheduler } = this.#world;
    const startedMs = scheduler.nowMs();
    this.#endFaults();
    await this.#settleCalls();
    await this.#probe('after the faults');
    const recoveryMs = scheduler.nowMs() - startedMs;
    if (this.#world.settings.gossip) await this.#seeEachOther('after the faults');
    await this.#world.coordination?.finish();
    await this.#world.broker?.finish();
    await compareReplicas(this.#world, BOUND_MS);
    await this.#readAll();
    await this.#checkIdle();
    await this.#losePower();
    await this.#probe('after the last loss of power');
    await this.#readAll();
    if (this.#world.settings.gossip) await this.#seeEachOther('after the last loss of power');
    this.#requireRefusals();
    this.#world.checkOneCluster();
    return recoveryMs;
  }

  #endFaults(): void {
    const { nodes, links, network, supervisor, coordination, broker } = this.#world;
    const others = [...(coordination?.clients ?? []), ...(broker?.clients ?? [])];
    const clients = [...this.#world.clients, ...others];
    links.calm();
    network.calm();
    for (const node of nodes) {
      node.disk.faults.clear();
      node.resume();
    }
    for (const client of clients) client.resume();
    supervisor.hasten();
  }

  /** Every call ends by its deadline. */
  async #settleCalls(): Promise<void> {
    const { recorder, settings } = this.#world;
    const boundMs = settings.timeoutMs + SETTLE_SLACK_MS;
    if (await this.#world.until(() => recorder.pending === 0, boundMs)) return;
    throw new CheckFailure('settles', `${recorder.pending} operations did not end within ${boundMs} ms`);
  }

  /** Every partition takes a write. */
  async #probe(when: string): Promise<void> {
    const { keys, callers } = this.#world;
    const caller = callers[0]!;
    const endMs = this.#world.scheduler.nowMs() + BOUND_MS;
    const probes = keys.probes().map(async ({ keyspace, key }) => {
      while (this.#world.scheduler.nowMs() < endMs) {
        const call = caller.begin(keyspace, key, { kind: 'increment', delta: 1n });
        try {
          call.applied({ counter: await caller.client.keyspace(keyspace).increment(key) });
          return;
        } catch (error) {
          call.failed(error);
        }
      }
      throw new CheckFailure('liveness', `no write to the partition of ${keyspace}/${key} ${when}`);
    });
    await this.#world.finish(Promise.all(probes), BOUND_MS, 'liveness', `writing to all partitions ${when}`);
  }

  /** Where nodes gossip: each that runs holds the others that run for alive, and nobody else. */
  async #seeEachOther(when: string): Promise<void> {
    let wrong = '';
    const isSo = () => {
      wrong = this.#misjudged();
      return wrong === '';
    };
    if (await this.#world.until(isSo, BOUND_MS)) return;
    throw new CheckFailure('gossip', `${when}: ${wrong}`);
  }

  /** A member that a node takes for something else than it is; empty: there is none. */
  #misjudged(): string {
    const { nodes } = this.#world;
    const running = new Set(
      nodes.flatMap(({ state, engine }) => (state === 'up' && engine ? engine.host.self : [])),
    );
    for (const { state, engine, name } of nodes) {
      if (state !== 'up' || engine === undefined) continue;
      for (const member of engine.members.current.members) {
        const held = engine.gossip!.stateOf(member);
        if ((held === 'alive') !== running.has(member.id)) return `${name} holds ${member.name} for ${held}`;
      }
    }
    return '';
  }

  async #readAll(): Promise<void> {
    const { keys, callers } = this.#world;
    const reads = keys.everything().map(({ keyspace, key }, at) => {
      return callers[at % callers.length]!.readFinally(keyspace, key);
    });
    await this.#world.finish(Promise.all(reads), BOUND_MS, 'liveness', 'reading all keys');
  }

  /** Nothing is under way: nothing is held. */
  async #checkIdle(): Promise<void> {
    const { nodes } = this.#world;
    await this.#world.until(() => false, QUIET_MS);
    // What nodes tell each other of their own accord is over in a moment.
    await this.#world.until(() => nodes.every((node) => heldBy(node).length === 0), QUIET_MS);
    for (const node of nodes) checkIdle(node);
  }

  /** By now every peer has had the time to say that it does not know such a node again. */
  #requireRefusals(): void {
    const guest = this.#world.nodes.find(({ mustBeRefused, state }) => mustBeRefused && state !== 'refused');
    if (guest !== undefined)
      throw new CheckFailure('refusal', `${guest.name} lost its data and still goes under its old name`);
  }

  async #losePower(): Promise<void> {
    const { nodes } = this.#world;
    const running = nodes.filter(({ state }) => state === 'up');
    for (const node of running) node.losePower('lose-all');
    const isBack = () => running.every(({ state }) => state === 'up' || state === 'refused');
    if (await this.#world.until(isBack, BOUND_MS)) return;
    throw new CheckFailure('liveness', 'a node does not come back after the last loss of power');
  }
}
