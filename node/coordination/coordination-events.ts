/** What the coordination tells of what it has applied, on this node. */
import type { Hanging, LeaseRow } from './lease-table.ts';
import type { SessionEvents } from './session-state.ts';
import type { TreeChange } from './tree-command.ts';
import type { Place } from './wait-queue.ts';

/** A key of the configuration as it was at some revision. */
export interface ConfigEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Revision at which the key came into being. */
  readonly createRevision: number;
  /** Revision of the last change. */
  readonly modRevision: number;
  /** Changes since it came into being, the first included. */
  readonly version: number;
  /** Lease that it ends with; 0: none. */
  readonly lease: bigint;
}

/** Where a change stands among all changes. */
export interface EventPosition {
  readonly revision: number;
  /** Among those of the revision, from 0 on. */
  readonly number: number;
}

/** One change of one key of the configuration. */
export interface ConfigEvent extends EventPosition {
  readonly isDelete: boolean;
  /** As it is now; of a delete only key and modRevision say something. */
  readonly entry: ConfigEntry;
  /** The change that it replaced, for `ConfigTree.entryAt`; undefined: there was no such key. */
  readonly previous: EventPosition | undefined;
}

/** Told synchronously while commands are applied, also at the start, while the log is replayed. Nothing may be proposed or changed meanwhile. */
export interface CoordinationEvents extends SessionEvents {
  /** A key of the cluster's own has changed. */
  onOwnChange(change: TreeChange, revision: number): void;
  /** All changes of the configuration at one revision; revisions grow. */
  onChanges(revision: number, events: readonly ConfigEvent[]): void;
  /** History before this revision is forgotten. */
  onCompacted(compactRevision: number): void;
  /** A consumer group has changed. */
  onGroup(name: string): void;
  /** Users, roles or permissions have changed, or whether they are asked for. */
  onPermissions(): void;
  /** A snapshot came: what changed was not told one by one, and everything has to be read anew. */
  onReplaced(): void;
}

/** Tells many of it. Not all need want to hear everything. */
export class EventFeed implements CoordinationEvents {
  readonly #observers: Partial<CoordinationEvents>[] = [];

  /** Returns how to hear no more. */
  add(observer: Partial<CoordinationEvents>): () => void {
    this.#observers.push(observer);
    return () => {
      const at = this.#observers.indexOf(observer);
      if (at >= 0) this.#observers.splice(at, 1);
    };
  }

  onOwnChange(change: TreeChange, revision: number): void {
    for (const observer of this.#observers) observer.onOwnChange?.(change, revision);
  }
  onChanges(revision: number, events: readonly ConfigEvent[]): void {
    for (const observer of this.#observers) observer.onChanges?.(revision, events);
  }
  onCompacted(compactRevision: number): void {
    for (const observer of this.#observers) observer.onCompacted?.(compactRevision);
  }
  onLeaseGranted(lease: bigint, row: Readonly<LeaseRow>): void {
    for (const observer of this.#observers) observer.onLeaseGranted?.(lease, row);
  }
  onLeaseEnded(lease: bigint, hasExpired: boolean): void {
    for (const observer of this.#observers) observer.onLeaseEnded?.(lease, hasExpired);
  }
  onServed(kind: Hanging, name: string, place: Place): void {
    for (const observer of this.#observers) observer.onServed?.(kind, name, place);
  }
  onGivenUp(kind: Hanging, name: string, session: bigint, request: string, revision: number): void {
    for (const observer of this.#observers) observer.onGivenUp?.(kind, name, session, request, revision);
  }
  onElection(name: string): void {
    for (const observer of this.#observers) observer.onElection?.(name);
  }
  onGroup(name: string): void {
    for (const observer of this.#observers) observer.onGroup?.(name);
  }
  onPermissions(): void {
    for (const observer of this.#observers) observer.onPermissions?.();
  }
  onReplaced(): void {
    for (const observer of this.#observers) observer.onReplaced?.();
  }
}
