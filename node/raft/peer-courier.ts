/**
 * Carries messages of all groups between this node and its peers: what is posted in a turn
 * leaves as one envelope for each peer and lane: entries and parts of snapshots are bulk, and
 * do not hold up heartbeats and votes. Every message begins with who sends it:
 *
 *   kind (1 byte) · log id (8) · run id (8) · records in its log at its start (8) · records now (8) · wall clock (8) · groups led (4) · number (4)
 *
 *  1. Nothing is taken from a node that is not a member, or that `PeerMemory` does not know
 *     again: a member whose data was removed or rolled back would vote a second time.
 *  2. After a start nothing is taken and nothing posted before every peer has said that it
 *     knows this node again, or `PROBATION_MS` have passed: a node whose data was removed or
 *     rolled back, and that can reach a peer, learns it before it votes.
 *  3. What waits for a slow peer is bounded in bytes: more is dropped, and said to the core.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import type { PeerLane, PeerTransport } from '../runtime/peer-transport.ts';
import { asBuffer, readU64, writeU64 } from '../storage/byte-codec.ts';
import type { ClockComparison } from './clock-comparison.ts';
import type { Message } from './core/messages.ts';
import { decodeEnvelope, encodeEnvelope, messageBytes, type GroupMessage } from './core/message-codec.ts';
import type { Member } from './members.ts';
import type { PeerMemory, SeenPeer } from './peer-memory.ts';

/** What a message between nodes is; never reused for another meaning. */
export const PeerMessageKind = {
  /** Messages of cores, see `encodeEnvelope`. */
  envelope: 1,
  /** Asks for a part of a snapshot's rows. */
  snapshotRequest: 2,
  /** A part of a snapshot's rows. */
  snapshotPart: 3,
  /** The receiver of this is not the node that its peer knew under the name. */
  refusal: 4,
  /** Asks whether the sender is known again. */
  hello: 5,
  /** The receiver of this, in the run that it names, is known again. */
  welcome: 6,
  /** A `holdfast.gossip.v1.GossipMessage`. */
  gossip: 7,
} as const;

export const HEADER_BYTES = 49;
/** In place of the groups that it leads, of a node that is about to stop: it is to be handed none. */
export const LEAVING = 0xffff_ffff;
const NO_BODY = new Uint8Array(0);
/** Envelopes are cut at about this size. */
const ENVELOPE_BYTES = 4 * 1024 * 1024;
/** Above this many bytes on their way to a peer, appends are dropped. Invariant 3. */
const MAX_QUEUED_BYTES = 32 * 1024 * 1024;
/** Entries of a turn that do not need a lane of their own. */
const FEW_BYTES = 64 * 1024;
/** With more waiting for a peer, entries stay off the lane of the control messages. */
const FEW_QUEUED_BYTES = 256 * 1024;
/** So long after entries that did, further ones follow them, so as not to overtake them. */
const BULK_LASTS_MS = 20;
const REFUSAL_EVERY_MS = 100;
/** How long a node waits for peers that do not answer. More: safer, and slower to start while one is down. */
const PROBATION_MS = 1_000;
const HELLO_EVERY_MS = 100;

/** This node among others. */
export interface Peers {
  readonly transport: PeerTransport;
  /** 8 bytes that tell this node's log from every other. */
  readonly logId: Uint8Array;
}

export interface PeerCourierOptions {
  readonly transport: PeerTransport;
  readonly self: Member;
  /** The nodes at first; see `setMembers`. */
  readonly members: readonly Member[];
  readonly clock: Clock;
  readonly random: Random;
  readonly memory: PeerMemory;
  readonly clocks: ClockComparison;
  /** 8 bytes that tell this node's log from every other. */
  readonly logId: Uint8Array;
  /** Records that are durable in this node's log. */
  readonly logSequence: () => number;
  /** How many groups this node leads, or LEAVING. */
  readonly led: () => number;
  /** How many a peer leads, or LEAVING. */
  readonly onLed: (peer: number, led: number) => void;
  readonly onMessages: (messages: readonly GroupMessage[]) => void;
  readonly onBulk: (from: number, kind: number, body: Buffer) => void;
  /** Gossip of the member of this name. */
  readonly onGossip: (from: string, body: Buffer) => void;
  /** A peer does not take this node for the one it knew. */
  readonly onRefused: (peer: string, reason: string) => void;
  /** A message to this replica was dropped. */
  readonly onDropped: (message: GroupMessage) => void;
}

export class PeerCourier {
  readonly #options: PeerCourierOptions;
  #byId: ReadonlyMap<number, Member> = new Map();
  /** The newest member of each name. */
  #byName: ReadonlyMap<string, Member> = new Map();
  readonly #startSequence: number;
  /** Tells this run of the process from every other. */
  readonly #runId: Uint8Array;
  /** Posted in this turn, by replica. */
  readonly #outbox = new Map<number, GroupMessage[]>();
  readonly #refusedAtMs = new Map<string, number>();
  /** Peers that have not said yet that they know this run of the node. */
  readonly #strangers = new Set<string>();
  /** When more than a few entries last went to a peer. */
  readonly #bulkMs = new Map<string, number>();
  #probation: Timer | undefined;

  constructor(options: PeerCourierOptions) {
    this.#options = options;
    this.setMembers(options.members);
    this.#startSequence = options.logSequence();
    this.#runId = options.random.bytes(8);
    for (const peer of this.#byName.keys()) this.#strangers.add(peer);
    this.#greet(options.clock.monotonicMs() + PROBATION_MS);
    options.transport.onMessage((peer, message) => this.#receive(peer, asBuffer(message)));
  }

  /** The nodes from now on. Whoever is not among them is neither heard nor told anything. */
  setMembers(members: readonly Member[]): void {
    const { self } = this.#options;
    const peers = members.filter(({ id, name }) => id !== self.id && name !== self.name);
    const ascending = [...peers].sort((a, b) => a.id - b.id);
    this.#byName = new Map(ascending.map((member) => [member.name, member]));
    this.#byId = new Map([...this.#byName.values()].map((member) => [member.id, member]));
    for (const stranger of this.#strangers) if (!this.#byName.has(stranger)) this.#strangers.delete(stranger);
  }

  /** Whether this node may take part. Invariant 2. */
  get isAdmitted(): boolean {
    return this.#probation === undefined;
  }

  /** Queues a core's message for the envelope of this turn. */
  post(group: number, message: Message): void {
    const known = this.#outbox.get(message.to);
    if (known === undefined) this.#outbox.set(message.to, [{ group, message }]);
    else known.push({ group, message });
  }

  /** Sends what was posted. */
  flush(): void {
    for (const [replica, messages] of this.#outbox) {
      const peer = this.#byId.get(replica);
      if (peer !== undefined) this.#sendAll(peer.name, messages);
    }
    this.#outbox.clear();
  }

  /** Sends a message that is not a core's. */
  sendBulk(to: number, kind: number, body: Uint8Array): void {
    const peer = this.#byId.get(to);
    if (peer !== undefined) this.#send(peer.name, kind, body, 'bulk');
  }

  /** Sends gossip to the member of this name; nothing, if there is none. */
  sendGossip(to: string, body: Uint8Array): void {
    if (this.#byName.has(to)) this.#send(to, PeerMessageKind.gossip, body);
  }

  close(): Promise<void> {
    this.#probation?.cancel();
    return this.#options.transport.close();
  }

  /** Invariant 2. */
  #greet(endMs: number): void {
    const { clock } = this.#options;
    this.#probation = undefined;
    if (this.#strangers.size === 0 || clock.monotonicMs() >= endMs) return;
    for (const peer of this.#strangers) this.#send(peer, PeerMessageKind.hello, NO_BODY);
    this.#probation = clock.setTimer(HELLO_EVERY_MS, () => this.#greet(endMs));
  }

  #onWelcome(peer: string, body: Buffer): void {
    if (body.length !== 8 || body.compare(this.#runId) !== 0) return;
    this.#strangers.delete(peer);
    if (this.#strangers.size > 0) return;
    this.#probation?.cancel();
    this.#probation = undefined;
  }

  /** A few entries go with the rest, since a message more costs more than they do; many go where they hold up nothing. */
  #sendAll(peer: string, messages: readonly GroupMessage[]): void {
    const entries = messages.filter(hasEntries);
    if (this.#areFew(peer, entries)) return this.#sendEnvelopes(peer, messages, 'control');
    const control = messages.filter((message) => !hasEntries(message));
    this.#sendEnvelopes(peer, control, 'control');
    this.#sendEntries(peer, entries);
  }

  /** What goes beside much that is on its way would overtake it, or hold up heartbeats. */
  #areFew(peer: string, entries: readonly GroupMessage[]): boolean {
    if (entries.length === 0) return true;
    const { clock, transport } = this.#options;
    const bytes = entries.reduce((sum, { message }) => sum + messageBytes(message), 0);
    if (bytes > FEW_BYTES) {
      this.#bulkMs.set(peer, clock.monotonicMs());
      return false;
    }
    if (transport.queuedBytes(peer) > FEW_QUEUED_BYTES) return false;
    return clock.monotonicMs() - (this.#bulkMs.get(peer) ?? -Infinity) >= BULK_LASTS_MS;
  }

  /** Invariant 3. */
  #sendEntries(peer: string, messages: readonly GroupMessage[]): void {
    const { transport, onDropped } = this.#options;
    if (transport.queuedBytes(peer) > MAX_QUEUED_BYTES) for (const message of messages) onDropped(message);
    else this.#sendEnvelopes(peer, messages, 'bulk');
  }

  #sendEnvelopes(peer: string, messages: readonly GroupMessage[], lane: PeerLane): void {
    let part: GroupMessage[] = [];
    let bytes = 0;
    for (const message of messages) {
      const size = messageBytes(message.message);
      if (bytes > 0 && bytes + size > ENVELOPE_BYTES) {
        this.#send(peer, PeerMessageKind.envelope, encodeEnvelope(part), lane);
        part = [];
        bytes = 0;
      }
      part.push(message);
      bytes += size;
    }
    if (part.length > 0) this.#send(peer, PeerMessageKind.envelope, encodeEnvelope(part), lane);
  }

  #send(peer: string, kind: number, body: Uint8Array, lane: PeerLane = 'control'): void {
    const { self, logId, logSequence, clock, transport, led } = this.#options;
    const message = Buffer.allocUnsafe(HEADER_BYTES + body.byteLength);
    message[0] = kind;
    message.set(logId.subarray(0, 8), 1);
    message.set(this.#runId, 9);
    writeU64(message, this.#startSequence, 17);
    writeU64(message, logSequence(), 25);
    writeU64(message, Math.max(0, Math.floor(clock.wallMs())), 33);
    message.writeUInt32BE(led(), 41);
    message.writeUInt32BE(self.id, 45);
    message.set(body, HEADER_BYTES);
    transport.send(peer, message, lane);
  }

  #receive(name: string, message: Buffer): void {
    const peer = this.#byName.get(name);
    if (peer === undefined || message.length < HEADER_BYTES) return;
    const kind = message[0]!;
    const body = message.subarray(HEADER_BYTES);
    if (kind === PeerMessageKind.refusal) return this.#onRefusal(name, body);
    const header = readable(() => readHeader(message));
    if (header === undefined || !this.#isMember(peer, header.id, message)) return;
    if (!this.#isKnown(peer, header.seen, message)) return;
    this.#options.clocks.heard(peer.id, header.wallMs);
    this.#options.onLed(peer.id, header.led);
    if (kind === PeerMessageKind.hello)
      return this.#send(name, PeerMessageKind.welcome, message.subarray(9, 17));
    if (kind === PeerMessageKind.welcome) return this.#onWelcome(name, body);
    if (!this.isAdmitted) return;
    if (kind === PeerMessageKind.gossip) return this.#options.onGossip(name, body);
    if (kind !== PeerMessageKind.envelope) return this.#options.onBulk(peer.id, kind, body);
    // A member speaks for its own replicas alone.
    const messages = readable(() => decodeEnvelope(body))?.filter(
      ({ message: { from } }) => from === peer.id,
    );
    if (messages !== undefined && messages.length > 0) this.#options.onMessages(messages);
  }

  /** A later member of the name is one that this node has yet to hear of; an earlier one was replaced. */
  #isMember({ id, name }: Member, sender: number, message: Buffer): boolean {
    if (sender < id) this.#refuse(name, 'another node has its place', message);
    return sender === id;
  }

  /** Invariant 1. */
  #isKnown({ id, name }: Member, seen: SeenPeer, message: Buffer): boolean {
    const verdict = this.#options.memory.judge(id, seen);
    if (verdict === 'known') return true;
    if (verdict !== 'unsettled') this.#refuse(name, verdict, message);
    return false;
  }

  /** Says which run of the peer is meant: a message of an earlier one may have been long on its way. */
  #refuse(name: string, reason: string, message: Buffer): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - (this.#refusedAtMs.get(name) ?? -Infinity) < REFUSAL_EVERY_MS) return;
    this.#refusedAtMs.set(name, nowMs);
    this.#send(name, PeerMessageKind.refusal, Buffer.concat([message.subarray(1, 17), Buffer.from(reason)]));
  }

  #onRefusal(name: string, body: Buffer): void {
    if (body.length < 16 || body.compare(this.#runId, 0, 8, 8, 16) !== 0) return;
    this.#options.onRefused(name, body.toString('utf8', 16));
  }
}

function hasEntries({ message }: GroupMessage): boolean {
  return message.type === 'append' && message.entries.length > 0;
}

/** Who sends a message, what its clock shows, and what it leads. RangeError: there is no such message. */
function readHeader(message: Buffer): { seen: SeenPeer; wallMs: number; led: number; id: number } {
  const seen = {
    logId: message.toString('hex', 1, 9),
    runId: message.toString('hex', 9, 17),
    startSequence: readU64(message, 17),
    sequence: readU64(message, 25),
  };
  const [led, id] = [message.readUInt32BE(41), message.readUInt32BE(45)];
  return { seen, wallMs: readU64(message, 33), led, id };
}

/** What cannot be read is dropped, as if the network had lost it. */
function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
