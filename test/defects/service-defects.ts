/** Defects of state machine, keyspaces, services and client. */
import type { WorldDefect } from './world-defect.ts';

const MACHINE = 'node/kv/kv-state-machine.ts';
const RETRIES = ['lost-reply', 'reset-by-request', 'reset-connections', 'client-replies-cut'];

export const SERVICE_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'remember no write',
    file: MACHINE,
    find: 'memory.keep(identity.sequence, kept(outcome));',
    replace: '',
    reason: 'a write that is repeated is applied twice',
    caughtBy: {
      seed: '1',
      nodes: 1,
      faults: RETRIES,
      checker: 'applied-once',
    },
  },
  {
    name: 'drop applied-once',
    file: MACHINE,
    find: '    if (known !== undefined) return known;\n',
    replace: '',
    reason: 'a write that is repeated is applied twice',
    caughtBy: {
      seed: '1',
      nodes: 1,
      faults: RETRIES,
      checker: 'applied-once',
    },
  },
  {
    name: 'do not store what is remembered of clients',
    file: MACHINE,
    find: '    this.#rows.putLive(row, memory);\n',
    replace: '',
    reason: 'a write that is repeated after a restart is applied twice',
    caughtBy: { seed: '1', nodes: 1, faults: ['kill', 'power-loss'], checker: 'reasons' },
  },
  {
    name: 'do not store versions',
    file: MACHINE,
    find: '    this.#rows.putLive(this.#versionsRow, this.#versions);\n',
    replace: '',
    reason: 'versions are given out twice',
    caughtBy: { seed: '0', nodes: 1, faults: ['kill', 'power-loss'], checker: 'versions' },
  },
  {
    name: 'apply commands out of order',
    file: 'node/raft/group-replica.ts',
    find: 'commands ?? decodeCommands(entry.payload)',
    replace: 'commands ?? [...decodeCommands(entry.payload)].reverse()',
    reason: 'replicas differ',
    caughtBy: { seed: '0', nodes: 3, checker: 'replicas' },
  },
  {
    name: 'a replica’s own clock decides expiry',
    file: 'node/raft/apply-queue.ts',
    find: 'results = replica.apply(entry, made?.proposals);',
    replace:
      'results = replica.apply({ ...entry, stampMs: Math.floor(this.#options.clock.wallMs()) }, made?.proposals);',
    reason: 'replicas differ',
    caughtBy: { seed: '0', nodes: 3, checker: 'replicas' },
  },
  {
    name: 'say that a keyspace is unknown without asking',
    file: 'node/kv/keyspaces.ts',
    find: 'return this.catchUp().then(() => whole(this.get(name, field), field));',
    replace: 'return whole(this.get(name, field), field);',
    reason: 'a node that lags says that what was created does not exist',
    caughtBy: { seed: '14', nodes: 3, faults: ['power-loss', 'power-loss-of-all'], checker: 'reasons' },
  },
  {
    name: 'keep bytes of a closed stream',
    file: 'node/services/kv-pipeline.ts',
    find: 'this.#budget.give(this.#heldBytes);',
    replace: '',
    reason: 'the budget runs dry, connection by connection',
    caughtBy: {
      seed: '0',
      nodes: 1,
      faults: RETRIES,
      checker: 'bounds',
    },
  },
  {
    name: 'late deadlines',
    file: 'client/deadlines.ts',
    find: 'const tick = Math.ceil(item.deadlineMs / Deadlines.tickMs);',
    replace: 'const tick = Math.ceil(item.deadlineMs / Deadlines.tickMs) + 200;',
    reason: 'calls end seconds after their deadline',
    caughtBy: { seed: '0', nodes: 1, checker: 'deadline' },
  },
  {
    name: 'say that a lost write was not applied',
    file: 'client/retry.ts',
    find: "return 'UNKNOWN';\n  if (error.outcome",
    replace: "return 'NOT_APPLIED';\n  if (error.outcome",
    reason: 'who is told so writes again',
    caughtBy: { seed: '13', nodes: 1, checker: 'acknowledged-kept' },
  },
  {
    name: 'say that a call without an answer was not applied',
    file: 'client/retry.ts',
    find: "return sent && leavesDoubt(error) ? 'UNKNOWN' : 'NOT_APPLIED';",
    replace: "return 'NOT_APPLIED';",
    reason: 'a write that may have been applied is said not to be',
    caughtBy: { seed: '2', nodes: 1, checker: 'acknowledged-kept' },
  },
  {
    name: 'draw a sequence for each attempt',
    file: 'client/pipeline.ts',
    find: 'if (!call.isWrite || call.sequence > 0) return;',
    replace: 'if (!call.isWrite) return;',
    reason: 'a repeat is a write of its own',
    caughtBy: { seed: '0', nodes: 1, faults: RETRIES, checker: 'applied-once' },
  },
  {
    name: 'acknowledge what was not answered',
    file: 'client/sequences.ts',
    find: '    if (sequence !== this.#ackedBelow) return;\n    this.#ackedBelow += 1;\n',
    replace: '    this.#ackedBelow = Math.max(this.#ackedBelow, sequence + 1);\n',
    reason: 'a write whose repeat is under way is forgotten',
    caughtBy: { seed: '27', nodes: 1, faults: RETRIES, checker: 'reasons' },
  },
];
