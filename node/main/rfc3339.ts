import { toJson } from '@bufbuild/protobuf';
import { timestampFromMs, TimestampSchema } from '@bufbuild/protobuf/wkt';

/** Milliseconds since 1970 in the form of RFC 3339. */
export function rfc3339(ms: number): string {
  return toJson(TimestampSchema, timestampFromMs(ms));
}
