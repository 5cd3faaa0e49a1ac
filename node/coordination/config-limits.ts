/** Bounds of the configuration. What the state machine refuses all replicas refuse: those never change. */

export const MAX_CONFIG_KEY_BYTES = 4_096;
export const MAX_CONFIG_VALUE_BYTES = 1_048_576;
/** Operations and comparisons of a transaction, those of inner ones included. */
export const MAX_TRANSACTION_OPERATIONS = 1_024;
/** Transactions within each other. */
export const MAX_TRANSACTION_DEPTH = 8;
/** Keys that a transaction may look at by ranges and prefixes: it holds everything else up. */
export const MAX_TOUCHED_KEYS = 10_000;
/** Bytes of entries that a transaction may answer with. */
export const MAX_TRANSACTION_ANSWER_BYTES = 8 * 1_048_576;
/** What each change counts besides its key and value: it is kept in an index as well. */
export const CHANGE_BYTES = 128;
/** Changes that one command looks at to forget history. */
export const MAX_PURGED_ROWS = 500;
/** Of cluster.yaml: bytes of all keys and values with their history. */
export const DEFAULT_QUOTA_BYTES = 256 * 1_048_576;
/** Keys under it are the cluster's own. */
export const RESERVED_PREFIX = '/holdfast/';
