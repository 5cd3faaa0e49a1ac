import type { Key } from '../values.ts';
import type { ConfigEntry } from './config-entry.ts';

/** One change of one key. */
export class ConfigEvent {
  /** `delete` also of a key that ended with its lease. */
  readonly type: 'put' | 'delete';
  /** The entry as it is now; of a delete only its key and `modRevision`, which is that of the delete. */
  readonly entry: ConfigEntry;
  /** With `previous`: what was there; undefined: nothing, or it is compacted. */
  readonly previous: ConfigEntry | undefined;

  /** @internal */
  constructor(type: 'put' | 'delete', entry: ConfigEntry, previous: ConfigEntry | undefined) {
    this.type = type;
    this.entry = entry;
    this.previous = previous;
  }

  /** The key: text if its bytes are UTF-8, else the bytes. */
  get key(): Key {
    return this.entry.key;
  }

  /** Revision of the change. */
  get revision(): bigint {
    return this.entry.modRevision;
  }
}

/** What a watch tells. */
export type WatchItem =
  | {
      readonly type: 'changes';
      /** All changes up to this revision have been told. */
      readonly revision: bigint;
      /** In the order of their revisions, each once; always all of a revision. At least one. */
      readonly events: readonly ConfigEvent[];
    }
  /** With `progress`: nothing that was not told has changed up to this revision. */
  | { readonly type: 'progress'; readonly revision: bigint }
  /**
   * Changes that were not told are compacted: what was changed up to this revision is to be read
   * anew. Changes after it are told.
   */
  | { readonly type: 'resync'; readonly revision: bigint };

/** Options of `watch`. */
export interface ConfigWatchOptions {
  /** Revision of the first change to tell, such as the one after that of a list. Default: what comes after now. */
  from?: bigint | number | undefined;
  /** Tell what was there before each change. */
  previous?: boolean | undefined;
  /** Tell puts. Default: true. */
  puts?: boolean | undefined;
  /** Tell deletes. Default: true. */
  deletes?: boolean | undefined;
  /** Tell the position also when nothing has changed, about every 10 s. */
  progress?: boolean | undefined;
  /**
   * Bytes of changes that may wait for a slow reader. When there are more, the node stops
   * sending and goes on from there when they were read. Default: 1 MiB.
   */
  maxBufferedBytes?: number | undefined;
  /** Ends the watch with CANCELLED. */
  signal?: AbortSignal | undefined;
}
