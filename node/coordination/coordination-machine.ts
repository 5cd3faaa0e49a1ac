/**
 * The state machine of group 0: the cluster's own keys, the configuration, leases, locks,
 * elections and sequences, each a part of its own, under one counter of revisions. How a part
 * plugs in: machine-part.ts.
 *
 *   m  counter of revisions      e  changes of the configuration   q  locks
 *   t  the cluster's own keys    g  counters of the configuration  n  elections
 *   c  clients, applied once     l  leases                         s  sequences
 *   k  keys of the configuration      a  what hangs on a lease
 *   p  their order                    u  users and roles
 *                                     b  consumer groups
 *
 *  1. Revisions are given out once, in order, and never again.
 *  2. A command that is refused has changed nothing but what is remembered of its client.
 *  3. A write with an identity is decided once: a repeat gets the first outcome, be it a refusal.
 *  4. Kinds and versions of commands, and the rows of the cluster's own keys, never change
 *     their meaning: logs and stores of release 0.1.0 are read as they are.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { groupPrefix, type RowKey } from '../storage/row-key.ts';
import type { RowStore } from '../storage/row-store.ts';
import type { Command } from '../raft/entry.ts';
import { COORDINATION_GROUP } from '../raft/members.ts';
import type { StateMachine } from '../raft/state-machine.ts';
import { AppliedOnce } from './applied-once.ts';
import { AuthPart } from './auth-part.ts';
import { ConfigTree } from './config-tree.ts';
import {
  COMMAND_VERSION,
  CoordinationKind,
  readIdentity,
  type DecodedCommand,
} from './coordination-command.ts';
import type { CoordinationEvents } from './coordination-events.ts';
import { GroupPart } from './groups/group-part.ts';
import { InternalTree } from './internal-tree.ts';
import { LeaseKeys } from './lease-keys.ts';
import type { Applying, LiveRow, MachinePart } from './machine-part.ts';
import { encodeOutcome, type Outcome } from './refusal.ts';
import { SequencePart } from './sequence-part.ts';
import { SessionPart } from './session-part.ts';
import type { LeasedKeys } from './session-state.ts';
import {
  TreeCommandKind,
  decodeRaiseRevision,
  decodeTransaction,
  encodeOutcome as encodeTreeOutcome,
  type TreeOutcome,
  type TreeTransaction,
} from './tree-command.ts';

export class CoordinationMachine implements StateMachine {
  /** The cluster's own keys. */
  readonly own: InternalTree;
  readonly clients: AppliedOnce;
  /** The users' keys. */
  readonly config: ConfigTree;
  /** Leases, locks and elections. */
  readonly sessions: SessionPart;
  readonly sequences: SequencePart;
  /** Members of consumer groups, and what they work on. */
  readonly groups: GroupPart;
  /** Users, roles, and who may do what. */
  readonly auth: AuthPart;
  readonly #events: CoordinationEvents;
  readonly #parts = new Map<number, MachinePart>();
  /** What is being applied; of use until the next command is. */
  readonly #now: NowApplying;

  /** Over the rows of one generation of group 0's replica. */
  constructor(rows: RowStore, generation: number, events: CoordinationEvents) {
    const prefix = groupPrefix(COORDINATION_GROUP, generation);
    this.#now = new NowApplying(rows, `${prefix}m`);
    this.#events = events;
    this.own = new InternalTree(rows, prefix, (change, revision) => events.onOwnChange(change, revision));
    this.clients = new AppliedOnce(rows, prefix);
    const keys: LeasedKeys = {
      deleteKeysOf: (lease, at) => this.config.deleteKeysOf(lease, at),
      endMembersOf: (lease, groups, stampMs) => this.groups.endLease(lease, groups, stampMs),
    };
    this.sessions = new SessionPart(rows, prefix, keys, events);
    const leases = new LeaseKeys(rows, prefix, this.sessions.state.leases);
    this.config = new ConfigTree(rows, prefix, leases, events);
    this.sequences = new SequencePart(rows, prefix);
    const { leases: table } = this.sessions.state;
    this.groups = new GroupPart(rows, prefix, this.own, table, (name) => events.onGroup(name));
    this.auth = new AuthPart(rows, prefix, () => events.onPermissions());
    for (const part of [this.clients, this.config, this.sessions, this.sequences, this.groups, this.auth])
      this.#add(part);
  }

  onInstalled(): void {
    this.#events.onReplaced();
  }

  /** Of the last change, or what it was raised to. */
  get revision(): number {
    return this.#now.revision;
  }

  parse(command: Command): TreeTransaction | DecodedCommand {
    const { kind, version, bytes } = command;
    if (kind === TreeCommandKind.transact && version === 1) return decodeTransaction(bytes);
    if (kind === TreeCommandKind.raiseRevision && version === 1) {
      decodeRaiseRevision(bytes);
      return NO_CHANGE;
    }
    const reader = new ByteReader(bytes);
    if (kind !== CoordinationKind.checked) return this.#read(kind, version, reader, undefined);
    const checkedAt = reader.u64();
    return this.#read(reader.u32(), version, reader, checkedAt);
  }

  /** Commands of the cluster's own keys have a TreeOutcome, all others an Outcome. */
  apply(command: Command, stampMs: number): TreeOutcome | Outcome {
    const applying = this.#now;
    applying.stampMs = stampMs;
    const { kind } = command;
    if (kind === TreeCommandKind.raiseRevision) return this.#raiseRevision(command);
    const decoded = command.decoded ?? this.parse(command);
    if (kind === TreeCommandKind.transact) return this.own.transact(decoded as TreeTransaction, applying);
    return this.#decide(decoded as DecodedCommand, applying);
  }

  encodeResult(result: unknown): Uint8Array {
    const outcome = result as TreeOutcome | Outcome;
    return 'succeeded' in outcome ? encodeTreeOutcome(outcome) : encodeOutcome(outcome);
  }

  #read(kind: number, version: number, reader: ByteReader, checkedAt: number | undefined): DecodedCommand {
    const part = this.#parts.get(kind);
    if (part === undefined || version !== COMMAND_VERSION)
      throw new RangeError(`unknown command ${kind} version ${version} of the coordination`);
    const identity = readIdentity(reader);
    const body = part.parse(kind, reader);
    if (!reader.done) throw new RangeError(`a command of kind ${kind} goes on behind its end`);
    return { kind, checkedAt, identity, body };
  }

  /** Who is not let in any more is not remembered as refused: with newer permissions the same write may be. */
  #decide({ kind, checkedAt, identity, body }: DecodedCommand, applying: Applying): Outcome {
    const refusal = this.auth.refusalOf(kind, checkedAt);
    if (refusal !== undefined) return refusal;
    const part = this.#parts.get(kind)!;
    if (identity === undefined) return part.apply(kind, body, applying);
    return this.clients.decide(identity, applying.stampMs, () => part.apply(kind, body, applying)); // invariant 3
  }

  #add(part: MachinePart): void {
    for (const kind of part.kinds) this.#parts.set(kind, part);
  }

  #raiseRevision({ version, bytes }: Command): TreeOutcome {
    if (version !== 1) throw new RangeError(`unknown version ${version} of a command`);
    this.#now.raise(decodeRaiseRevision(bytes));
    return { succeeded: true, revision: this.#now.revision };
  }
}

const NO_CHANGE: TreeTransaction = { comparisons: [], changes: [] };

/** The command that is applied now, and the counter of revisions. */
class NowApplying implements Applying {
  stampMs = 0;
  readonly #rows: RowStore;
  readonly #row: RowKey;

  constructor(rows: RowStore, row: RowKey) {
    this.#rows = rows;
    this.#row = row;
  }

  get revision(): number {
    return this.#counter().revision;
  }

  /** Invariant 1. */
  nextRevision(): number {
    const counter = this.#counter();
    counter.revision++;
    this.#rows.putLive(this.#row, counter);
    return counter.revision;
  }

  raise(revision: number): void {
    const counter = this.#counter();
    counter.revision = Math.max(counter.revision, revision);
    this.#rows.putLive(this.#row, counter);
  }

  #counter(): RevisionCounter {
    return this.#rows.live(this.#row, RevisionCounter.decode) ?? new RevisionCounter(0);
  }
}

class RevisionCounter implements LiveRow {
  revision: number;

  constructor(revision: number) {
    this.revision = revision;
  }

  static decode(content: Uint8Array): RevisionCounter {
    return new RevisionCounter(new ByteReader(content).u64());
  }

  encode(): Uint8Array {
    return new ByteWriter(8).u64(this.revision).finish();
  }
}
