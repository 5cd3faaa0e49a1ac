/** What a CreateWatch asks for, checked. */
import type { CreateWatch } from '@holdfast/proto/config/v1/config';
import { selectedSpan } from './key-selection.ts';
import { safeInteger } from './kv-messages.ts';
import type { FollowedTerms } from './watch-stream.ts';

/** Errors: INVALID_FIELD, KEY_EMPTY, KEY_TOO_LARGE, KEY_RESERVED, RANGE_INVERTED. */
export function watchTerms(request: CreateWatch): FollowedTerms {
  return {
    span: selectedSpan(request.selection, 'selection'),
    startRevision: safeInteger(request.startRevision, 'start_revision'),
    withoutPuts: request.withoutPuts,
    withoutDeletes: request.withoutDeletes,
    withPrevious: request.withPrevious,
    fragment: request.fragment,
    progress: request.progress,
  };
}
