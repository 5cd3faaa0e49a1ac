import type { Coordination } from './coordination.ts';
import type { WatchedTree } from './watch-hub.ts';

/** The configuration as applied on this node, for who follows it. */
export function watchedTree(coordination: Coordination): () => WatchedTree {
  return () => {
    const { machine } = coordination;
    const { history, compactRevision } = machine.config;
    return { history, compactRevision, revision: machine.revision };
  };
}
