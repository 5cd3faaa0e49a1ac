/** Between the keys of the configuration and the leases that they end with: what each needs of the other. */
import type { Refusal } from './refusal.ts';

/** What the configuration needs of leases; `ConfigTree.leases` is set to it. */
export interface KeyLeases {
  exists(lease: bigint): boolean;
  /** Hangs a key on a lease that exists. A refusal when it has as much as it may. */
  attach(lease: bigint, key: Uint8Array): Refusal | undefined;
  /** Takes a key off, if it hangs there; also to undo an `attach` of the same command. */
  detach(lease: bigint, key: Uint8Array): void;
}

/** What leases need of the configuration, which implements it. */
export interface LeaseKeys {
  /** Deletes the keys that there are, at this revision, and tells of it; takes none off a lease. */
  deleteKeys(keys: readonly Uint8Array[], revision: number): void;
}

/** Before there are leases. */
export const NO_LEASES: KeyLeases = {
  exists: () => false,
  attach: () => undefined,
  detach: () => undefined,
};
