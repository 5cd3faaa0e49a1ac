/** Entries of a later version: a replica that does not know what one means does not pass over it. */
import { expect, test } from 'vitest';
import { NO_CONFIGURATION } from '../../node/raft/core/configuration.ts';
import { GroupReplica } from '../../node/raft/group-replica.ts';
import { encodeCommands } from '../../node/raft/entry.ts';
import { NOTHING_APPLIED } from '../../node/storage/row-store.ts';

function replicaWith(applied: number[]): GroupReplica {
  return new GroupReplica({
    group: 7,
    self: 1,
    settings: {},
    random: () => 0.5,
    restored: {
      hardState: { term: 1, vote: 0 },
      applied: NOTHING_APPLIED,
      storedIndex: 0,
      configuration: NO_CONFIGURATION,
      entries: [],
    },
    onQueued: () => undefined,
    createMachine: () => ({
      apply: ({ kind }) => applied.push(kind),
      parse: () => undefined,
      encodeResult: () => new Uint8Array(0),
    }),
  });
}

const payload = encodeCommands([{ kind: 9, version: 1, bytes: new Uint8Array(0) }]);
const entry = { index: 1, term: 1, stampMs: 5, kind: 2, version: 1, payload };

test.each([
  ['kind', { kind: 5 }],
  ['version', { version: 2 }],
])('an entry of a %s that is not known is not applied', (_, change) => {
  const applied: number[] = [];
  const replica = replicaWith(applied);
  expect(() => replica.apply({ ...entry, ...change }, undefined)).toThrow('which this program does not know');
  expect([applied, replica.applied.index]).toEqual([[], 0]);
  replica.apply(entry, undefined);
  expect([applied, replica.applied.index]).toEqual([[9], 1]);
});
