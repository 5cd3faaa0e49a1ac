/** Numbers of groups, given out by the coordination tree, and how many there may be. */
import { HoldfastError } from '@holdfast/client/error';
import type { ClusterTree } from './cluster-tree.ts';

/** Counter of all groups. */
export const NEXT_GROUP = '/holdfast/groups/next';
/** Partitions of all keyspaces and topics together: each costs memory and a place in every status. */
export const MAX_GROUPS = 16_384;

/** A counter in the tree; numbers start at 1 and are never given out twice. */
export function counter(tree: ClusterTree, key: string) {
  const node = tree.get(key);
  const next = node === undefined ? 1 : Number(Buffer.from(node.value).toString());
  return {
    next,
    comparison: { key, modRevision: node?.modRevision ?? 0 },
    advance: (by: number) => ({ key, value: Buffer.from(String(next + by)) }),
  };
}

/** That a key is as it is now. */
export function compared(tree: ClusterTree, key: string): { key: string; modRevision: number } {
  return { key, modRevision: tree.get(key)?.modRevision ?? 0 };
}

/** Error: INVALID_FIELD. */
export function checkGroupCount(known: number, more: number): void {
  const total = known + more;
  if (total <= MAX_GROUPS) return;
  const message = `there would be ${total} partitions in all keyspaces and topics together, limit ${MAX_GROUPS}. Nothing was created. Use fewer partitions, or drop what is not needed.`;
  throw new HoldfastError({
    reason: 'INVALID_FIELD',
    field: 'partitions',
    message,
    actual: String(total),
    limit: String(MAX_GROUPS),
    outcome: 'NOT_APPLIED',
  });
}
