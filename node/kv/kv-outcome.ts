/** What commands of a key-value partition result in. */
import type { Reason } from '@holdfast/client/reasons';
import type { StoredValue } from './kv-rows.ts';

/** What a mutation did. */
export interface MutationOutcome {
  /** The key's new version; 0 after a delete. */
  readonly version: number;
  /** The counter after an increment. */
  readonly counter: bigint | undefined;
  /** Whether a deleted key existed. */
  readonly existed: boolean | undefined;
}

/** What a transaction did. */
export interface TransactOutcome {
  readonly succeeded: boolean;
  readonly results: readonly (
    | { readonly case: 'get'; readonly key: Uint8Array; readonly found: StoredValue | undefined }
    | { readonly case: 'mutation'; readonly outcome: MutationOutcome }
  )[];
}

/** A command that changed nothing, and why. */
export interface Refusal {
  readonly refused: Reason;
  /** With a mismatch: the version the key has; undefined: it does not exist. */
  readonly currentVersion?: number | undefined;
  /** The offending value, where it helps and is not the user's data. */
  readonly actual?: string | undefined;
}

export type CommandOutcome = MutationOutcome | TransactOutcome | Refusal | undefined;

/** Whether a command was refused. */
export function isRefusal(outcome: CommandOutcome): outcome is Refusal {
  return outcome !== undefined && 'refused' in outcome;
}
