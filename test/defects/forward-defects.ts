/** Defects of what nodes do for each other's callers. */
import type { WorldDefect } from './world-defect.ts';

const RETRIES = ['lost-reply', 'reset-by-request', 'reset-connections'];

export const FORWARD_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'pass a write on again that may have been applied',
    file: 'node/cluster/forwarder.ts',
    find: 'if (isRefusedUntaken(error)) {',
    replace: "if (error.code === 'UNAVAILABLE') {",
    reason: 'a write without an identity is applied twice',
    caughtBy: { seed: '5', nodes: 3, faults: RETRIES, checker: 'applied-once' },
  },
  {
    name: 'pass writes on without their identity',
    file: 'node/services/forward-service.ts',
    find: 'const given = { kind, version, bytes: payload };',
    replace:
      'const hasIdentity = replica.group > 0 && (payload[0]! & 1) === 1;\n' +
      '  const bare = () => Uint8Array.from([payload[0]! & 2, ...payload.subarray(33)]);\n' +
      '  const given = { kind, version, bytes: hasIdentity ? bare() : payload };',
    reason: 'a write that is repeated is applied twice, and a client that wrote is not known',
    caughtBy: { seed: '0', nodes: 3, faults: RETRIES, checker: 'reasons' },
  },
  {
    name: 'keep the row of a write that waits',
    file: 'node/kv/key-value.ts',
    find: 'return machine !== undefined && partition.machine === machine ? row : undefined;',
    replace: 'return machine && row;',
    reason: 'it is applied to rows that a snapshot has replaced',
    caughtBy: {
      seed: '31',
      nodes: 3,
      faults: ['peer-partition', 'peer-one-way', 'pause', 'transfer-leader'],
      checker: 'replicas',
    },
  },
];
