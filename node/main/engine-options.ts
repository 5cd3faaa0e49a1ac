/** What an engine is opened with. */
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import type { Transport } from '@holdfast/client/transport';
import type { ObserveForwarded } from '../cluster/forwarder.ts';
import type { Membership } from '../cluster/membership.ts';
import type { AuthSettings } from '../coordination/auth.ts';
import type { HistoryLimits } from '../coordination/coordination-upkeep.ts';
import type { RaftSettings } from '../raft/core/settings.ts';
import type { FatalCause, HostObserver } from '../raft/group-host.ts';
import type { Disk } from '../runtime/disk.ts';
import type { OrderedStore } from '../runtime/ordered-store.ts';
import type { PeerTransport } from '../runtime/peer-transport.ts';
import type { PasswordHash } from '../runtime/scrypt.ts';
import type { FlushTimes } from '../storage/row-store.ts';
import type { BatchTimes } from '../storage/write-ahead-log.ts';
import type { EngineGossip } from './engine-gossip.ts';

export interface EngineOptions {
  readonly disk: Disk;
  /** What is wrong with the files of the ordered store; asked before it is opened. */
  readonly verifyStore: () => Promise<readonly string[]>;
  /** Checks the file of the ordered store that follows `after`; undefined: there is none. */
  readonly verifyNextFile: (
    after: string,
  ) => Promise<{ name: string; problem: string | undefined } | undefined>;
  readonly openStore: () => Promise<OrderedStore>;
  readonly clock: Clock;
  readonly random: Random;
  readonly nodeName: string;
  readonly segmentBytes: number;
  readonly minFreeBytes: number;
  readonly queueBytes: number;
  /** The cluster that the directory belongs to; default: this node alone. */
  readonly membership?: Membership | undefined;
  /** Name of the cluster in cluster.yaml, which nodes that are added must have as well; default: any. */
  readonly cluster?: string;
  /** Where a node is reached that was configured here; others are where they say. */
  readonly addressOf?: (name: string) => string | undefined;
  /** What is wrong with an address of a node; default: nothing. */
  readonly addressProblem?: (address: string) => string | undefined;
  /** Told of the members, when the engine opens and whenever they change. */
  readonly onMembers?: (membership: Membership) => void;
  /** The way to the others; undefined when there are none. */
  readonly peers?: PeerTransport | undefined;
  /** How calls that belong elsewhere reach the others; the engine closes it. Undefined: callers are told to go there. */
  readonly forwarding?: Transport | undefined;
  readonly raft?: Partial<RaftSettings>;
  /** How the node finds out who seems alive; undefined: it does not. */
  readonly gossip?: EngineGossip | undefined;
  /** By how much changes of leader may lengthen what leases have left. */
  readonly leaseCheckpointMs?: number;
  /** Bytes that the configuration may have with its history. */
  readonly quotaBytes?: number;
  /** What of the configuration's history is kept. */
  readonly history?: Partial<HistoryLimits>;
  /** How callers are let in. */
  readonly auth?: AuthSettings;
  /** Hashes passwords; default scrypt. */
  readonly passwordHash?: PasswordHash;
  /** Bytes of log entries kept in memory for replicas that lag. */
  readonly entryCacheBytes?: number;
  /** The node must not go on. */
  readonly onFailure: (cause: FatalCause, error: Error) => void;
  readonly onSpaceChange?: (low: boolean, freeBytes: number) => void;
  readonly observe?: EngineObserver;
}

/** Figures for metrics and logs. */
export interface EngineObserver extends HostObserver {
  logBatch(batch: BatchTimes): void;
  flush(flush: FlushTimes): void;
  forwarded: ObserveForwarded;
}
