import type { InjectionCounts } from './injection-counts.ts';

/** What a disk can be asked to do; each is one numbered operation. */
export type DiskOperation =
  | 'open'
  | 'read'
  | 'list'
  | 'make-directory'
  | 'remove-directory'
  | 'remove'
  | 'rename'
  | 'sync-directory'
  | 'free-bytes'
  | 'size'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'close';

/** A failure to inject. */
export interface DiskFault {
  /** Operation that fails. */
  readonly operation: DiskOperation;
  /** Error code; EIO by default. */
  readonly code?: string;
  /** Only operations on paths for which this holds. */
  readonly matches?: (path: string) => boolean;
  /** Number of operations that fail, 1 by default; Infinity until `clear`. */
  readonly times?: number;
  /**
   * What becomes of the data of a failed sync. Readers see it until the restart. `lost`:
   * it is gone then. `kept`: it surfaces then. `seeded` (default): some sectors do. A
   * later sync that succeeds does not cover it in any case. Of a failed write: whether
   * none, all or some of its sectors are in the page cache, like those of another write.
   */
  readonly data?: 'lost' | 'kept' | 'seeded';
}

/** The failures that a simulated disk still has to inject. */
export class DiskFaults {
  #pending: { readonly fault: DiskFault; left: number }[] = [];
  readonly #counts: InjectionCounts;

  constructor(counts: InjectionCounts) {
    this.#counts = counts;
  }

  add(fault: DiskFault): void {
    this.#pending.push({ fault, left: fault.times ?? 1 });
  }

  clear(): void {
    this.#pending = [];
  }

  /** The failure that this operation meets, if any; counts it. */
  take(operation: DiskOperation, path: string): DiskFault | undefined {
    const met = this.#pending.find(
      ({ fault, left }) => left > 0 && fault.operation === operation && (fault.matches?.(path) ?? true),
    );
    if (met === undefined) return undefined;
    met.left--;
    this.#counts.note(`fail-${operation}`);
    return met.fault;
  }
}
