/**
 * Runs this node's gossip: gives it time, the messages of the other members and the table of
 * members, and sends what it says. What comes of it is who seems alive; it decides nothing.
 *
 *  1. What waits to be read is read before time goes on: a node that was stopped hears first what
 *     was sent to it meanwhile.
 *  2. Members are expected and expelled as the table has them, whatever gossip says.
 *  3. A node that no longer serves says nothing any more, so that the others notice.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import { decodeGossip, encodeGossip } from './gossip-codec.ts';
import type { GossipChange } from './gossip/cluster-view.ts';
import { GossipCore } from './gossip/gossip-core.ts';
import type { GossipMessage } from './gossip/messages.ts';
import type { Instance, LifeState, NodeMeta, NodeRecord } from './gossip/node-record.ts';
import { resolveGossipSettings, type GossipSettings } from './gossip/settings.ts';
import { memberNamed, type MemberTable } from './membership.ts';

const TICK_MS = 100;
/** Longest that a node which stops waits until it has told the others. */
const LEAVE_MS = 1_000;

export interface GossipDriverOptions {
  readonly settings?: Partial<GossipSettings>;
  /** 16 bytes as hexadecimal digits. */
  readonly clusterId: string;
  readonly self: { readonly name: string } & Instance & NodeMeta;
  readonly clock: Clock;
  /** Numbers in [0, 1). */
  readonly random: () => number;
  readonly send: (to: string, message: Uint8Array) => void;
  /** How busy this node is, in percent. */
  readonly load: () => number;
  /** This node does not serve any more, and will not. Invariant 3. */
  readonly isOver: () => boolean;
  /** Another run has this node's name, and this one is not heard any more; told once. */
  readonly onSuperseded?: ((newer: Instance) => void) | undefined;
}

/** Messages and their bytes. */
export interface GossipTraffic {
  messages: number;
  bytes: number;
}

/** How often what has happened since the start. */
export interface GossipDriverCounts {
  readonly sent: GossipTraffic;
  readonly received: GossipTraffic;
  /** Messages that could not be read. */
  unreadable: number;
  /** How often another node came to be held for what. */
  readonly changes: Record<LifeState, number>;
}

/** Told of the nodes of which something else is known than before, and which of them have come to be alive. */
export type GossipListener = (names: readonly string[], revived: readonly string[]) => void;

export class GossipDriver {
  readonly #options: GossipDriverOptions;
  readonly #core: GossipCore;
  readonly #listeners = new Set<GossipListener>();
  /** The table that was told last. */
  #members: MemberTable['members'] = [];
  #timer: Timer | undefined;
  #isStopped = false;
  #isSuperseded = false;
  #changedMs: number;
  readonly counts: GossipDriverCounts = {
    sent: { messages: 0, bytes: 0 },
    received: { messages: 0, bytes: 0 },
    unreadable: 0,
    changes: { alive: 0, suspect: 0, dead: 0, left: 0 },
  };

  constructor(options: GossipDriverOptions) {
    this.#options = options;
    const { clusterId, self, random, clock } = options;
    this.#core = new GossipCore({
      settings: resolveGossipSettings(options.settings),
      clusterId,
      self,
      random,
    });
    this.#changedMs = clock.monotonicMs();
    this.#schedule();
  }

  /** What the core counts and how it is. */
  get core(): Pick<GossipCore, 'counts' | 'doubt' | 'newsWaiting' | 'refutations' | 'nodes'> {
    return this.#core;
  }

  /** Since when nothing has changed, in monotonic milliseconds. */
  get changedMs(): number {
    return this.#changedMs;
  }

  /** What is known of the node of this name. */
  get(name: string): NodeRecord | undefined {
    return this.#core.get(name);
  }

  /** What a member is held for: `left` also when another one has its name. */
  stateOf({ id, name }: { readonly id: number; readonly name: string }): LifeState {
    const known = this.#core.get(name);
    if (known === undefined || known.member < id) return 'suspect';
    return known.member > id ? 'left' : known.state;
  }

  /** Follows changes; returns how to stop. */
  follow(listener: GossipListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The members from now on. Invariant 2. */
  setMembers(table: MemberTable): void {
    const before = this.#members;
    this.#members = table.members;
    for (const { id, name } of table.members)
      if (memberNamed(table, name)?.id === id) this.#core.expect(name, id);
    for (const { id, name } of before) if (memberNamed(table, name) === undefined) this.#core.expel(name, id);
    const names = [...new Set(table.members.map(({ name }) => name))];
    // Whoever does not know anybody yet asks them.
    if (before.length === 0) this.#core.join(names);
    this.#work();
    for (const listener of this.#listeners) listener(names, []);
  }

  /** A message of the member of this name. */
  receive(from: string, bytes: Uint8Array): void {
    if (this.#isStopped) return;
    const { received } = this.counts;
    received.messages++;
    received.bytes += bytes.byteLength;
    const message = this.#read(bytes);
    if (message === undefined) return;
    this.#core.receive(from, message);
    this.#work();
  }

  /** Says that this node ends; resolves when the others have been told, or it takes too long. */
  async leave(): Promise<void> {
    if (this.#isStopped) return;
    const { clock } = this.#options;
    const endMs = clock.monotonicMs() + LEAVE_MS;
    this.#core.leave();
    this.#work();
    await new Promise<void>((resolve) => {
      const look = () => {
        if (this.#isStopped || this.#core.hasToldAll || clock.monotonicMs() >= endMs) resolve();
        else clock.setTimer(TICK_MS, look);
      };
      look();
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#listeners.clear();
  }

  /** Invariant 1. */
  #schedule(): void {
    const { clock, isOver } = this.#options;
    this.#timer = clock.setTimer(TICK_MS, () => {
      clock.afterTurn(() => {
        if (this.#isStopped) return;
        if (isOver()) return this.stop();
        this.#tick();
        this.#schedule();
      });
    });
  }

  #tick(): void {
    const { clock, load } = this.#options;
    this.#core.setLoad(load());
    this.#core.tick(clock.monotonicMs());
    this.#work();
  }

  #read(bytes: Uint8Array): GossipMessage | undefined {
    try {
      return decodeGossip(bytes);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.counts.unreadable++;
      return undefined;
    }
  }

  /** Does what the core has found to be done. */
  #work(): void {
    const { messages, changes } = this.#core.take();
    for (const { to, message } of messages) this.#send(to, encodeGossip(message));
    if (changes.length > 0) this.#tell(changes);
    const { newer } = this.#core;
    if (newer === undefined || this.#isSuperseded) return;
    this.#isSuperseded = true;
    this.#options.onSuperseded?.(newer);
  }

  #send(to: string, bytes: Uint8Array): void {
    const { sent } = this.counts;
    sent.messages++;
    sent.bytes += bytes.byteLength;
    this.#options.send(to, bytes);
  }

  #tell(changes: readonly GossipChange[]): void {
    const { clock, self } = this.#options;
    this.#changedMs = clock.monotonicMs();
    const names = new Set<string>();
    const revived = new Set<string>();
    for (const { before, after } of changes) {
      names.add((after ?? before)!.name);
      if (after === undefined || after.name === self.name || after.state === before?.state) continue;
      this.counts.changes[after.state]++;
      if (after.state === 'alive') revived.add(after.name);
    }
    for (const listener of this.#listeners) listener([...names], [...revived]);
  }
}
