/** What a group host is given, and whom it tells. */
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import type { PeerTransport } from '../runtime/peer-transport.ts';
import type { RowStore } from '../storage/row-store.ts';
import type { WriteAheadLog } from '../storage/write-ahead-log.ts';
import type { RaftSettings } from './core/settings.ts';
import type { RecoveredGroups } from './log-records.ts';
import type { Member } from './members.ts';

/** What a failure is called when this node must not go on. */
export type FatalCause = 'storage failed' | 'storage damaged' | 'not known again';

/** This node among others. */
export interface Peers {
  readonly transport: PeerTransport;
  /** 8 bytes that tell this node's log from every other. */
  readonly logId: Uint8Array;
}

export interface GroupHostOptions {
  readonly log: WriteAheadLog;
  readonly rows: RowStore;
  readonly clock: Clock;
  readonly random: Random;
  /** Bound on the bytes of commands that wait for the log. */
  readonly queueBytes: number;
  readonly self: Member;
  /** All nodes that may hold replicas, this one too. */
  readonly members: readonly Member[];
  /** Undefined: there is no other node. */
  readonly peers: Peers | undefined;
  readonly settings?: Partial<RaftSettings>;
  /** Bytes of entries kept for replicas that lag. */
  readonly cacheBytes?: number;
  /** What the log holds. */
  readonly recovered: RecoveredGroups;
  /** The node must stop serving. */
  readonly onFailure: (cause: FatalCause, error: Error) => void;
  readonly observe?: HostObserver;
}

/** Figures for metrics. */
export interface HostObserver {
  applied(entries: number, commands: number, durationMs: number): void;
}
