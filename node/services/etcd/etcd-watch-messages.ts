/** What a WatchCreateRequest asks for, checked, and how etcd words why a watch is over. */
import {
  WatchCreateRequest_FilterType as FilterType,
  type WatchCreateRequest,
} from '@holdfast/proto/etcd/rpc';
import { HoldfastError } from '@holdfast/client/error';
import type { StatusName } from '@holdfast/client/reasons';
import type { FollowedTerms } from '../watch-stream.ts';
import { etcdError } from './etcd-error.ts';
import { rangeSpan } from './etcd-keys.ts';

/** The number of a watch that never began, and of what is said of all watches of a stream. */
export const NO_WATCH = -1n;
/** The first key that there may be. */
const FIRST_KEY = Uint8Array.of(0);

/** A watch that etcd does not begin either: its store says why, not its server. */
export class WatchNotBegun extends Error {
  override readonly name = 'WatchNotBegun';
}

/** Errors: WatchNotBegun, those of a key. */
export function etcdWatchTerms(request: WatchCreateRequest): FollowedTerms {
  const { key, rangeEnd, startRevision, filters, prevKv, fragment, progressNotify } = request;
  const span = rangeSpan(key.byteLength === 0 ? FIRST_KEY : key, rangeEnd);
  if (span === undefined) throw new WatchNotBegun('mvcc: watcher range is empty');
  return {
    span,
    startRevision: Math.min(Math.max(0, Number(startRevision)), Number.MAX_SAFE_INTEGER),
    withoutPuts: filters.includes(FilterType.NOPUT),
    withoutDeletes: filters.includes(FilterType.NODELETE),
    withPrevious: prevKv,
    fragment,
    progress: progressNotify,
  };
}

export function duplicateId(): WatchNotBegun {
  return new WatchNotBegun('mvcc: duplicate watch ID provided on the WatchStream');
}

/** Why a watch is over, as etcd's clients read it. */
export function cancelReason(error: unknown): string {
  if (error instanceof WatchNotBegun) return error.message;
  const told: HoldfastError = etcdError(error);
  return `rpc error: code = ${statusInWords(told.code)} desc = ${told.message}`;
}

/** PERMISSION_DENIED as PermissionDenied. */
function statusInWords(code: StatusName): string {
  return code.toLowerCase().replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
