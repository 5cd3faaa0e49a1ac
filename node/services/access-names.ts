/**
 * Names by which permissions speak of what is not the configuration. No key of users begins with
 * `/holdfast/`, so there is room for them:
 *
 *   /holdfast/kv/<keyspace>/<key>      keys of a keyspace
 *   /holdfast/lock/<name>              locks
 *   /holdfast/election/<name>          elections
 *   /holdfast/sequence/<name>          sequences
 *   /holdfast/topic/<name>             records of a topic
 *   /holdfast/group/<name>             consumer groups
 */
import type { KeyUse } from '../coordination/auth-permission.ts';
import { keySpan, type KeySpan } from '../coordination/config-command.ts';
import { RESERVED_PREFIX } from '../coordination/config-limits.ts';
import type { Sessions } from '../coordination/sessions.ts';
import { binaryString, prefixEnd } from '../storage/row-key.ts';
import type { LeaseNeed } from './access.ts';

export type NamedKind = 'lock' | 'election' | 'sequence' | 'topic' | 'group';

/** One lock, election, sequence, topic or group; the name is binary. */
export function namedSpan(kind: NamedKind, name: string): KeySpan {
  return keySpan(`${RESERVED_PREFIX}${kind}/${name}`);
}

/** All whose names begin with a prefix. */
export function namedPrefix(kind: NamedKind, prefix: string): KeySpan {
  return prefixOf(`${RESERVED_PREFIX}${kind}/${prefix}`);
}

/** A key of a keyspace. */
export function kvSpan(keyspace: string, key: Uint8Array): KeySpan {
  return keySpan(kvBase(keyspace) + binaryString(key));
}

/** Keys of a keyspace from `start` on; `end` undefined: to its last. */
export function kvRange(keyspace: string, start: string, end: string | undefined): KeySpan {
  const base = kvBase(keyspace);
  return { start: base + start, end: end === undefined ? prefixEnd(base) : base + end };
}

/** All that hangs on a lease, as applied here, for who uses all of it at once. */
export function leasedNeeds(sessions: Sessions, lease: bigint, use: KeyUse): LeaseNeed {
  return { use, lease, spans: () => spansOf(sessions, lease) };
}

function spansOf({ group }: Sessions, lease: bigint): KeySpan[] {
  const row = lease < 1n ? undefined : group.state.leases.get(lease);
  if (row === undefined) return [];
  return [
    ...group.keysOf(lease, row.keys).map((key) => keySpan(binaryString(key))),
    ...[...row.locks].map((name) => namedSpan('lock', name)),
    ...[...row.elections].map((name) => namedSpan('election', name)),
  ];
}

function kvBase(keyspace: string): string {
  return `${RESERVED_PREFIX}kv/${Buffer.from(keyspace).toString('latin1')}/`;
}

function prefixOf(prefix: string): KeySpan {
  return { start: prefix, end: prefixEnd(prefix) };
}
