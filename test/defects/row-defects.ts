/** Defects of rows and of the snapshots that are made of them. */
import type { WorldDefect } from './world-defect.ts';

const ROWS = 'node/storage/row-store.ts';
const RECEIVER = 'node/raft/snapshot-receiver.ts';
const SENDER = 'node/raft/snapshot-sender.ts';
const LAGGING = ['pause', 'kill', 'peer-partition', 'peer-drop'];

export const ROW_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'read the store where the overlay has it',
    file: ROWS,
    find: 'if (overlaid[at]?.[0] === key) takeOverlaid();',
    replace: 'if (overlaid[at]?.[0] === key) { at++; take(key, openRow(keyBytes, stored)); }',
    reason: 'scans show what was overwritten',
    caughtBy: { seed: '0', nodes: 1, checker: 'linearizability' },
  },
  {
    name: 'miss what is being flushed',
    file: ROWS,
    find: '    this.#flushing = rows;\n',
    replace: '',
    reason: 'what was acknowledged is not read until the flush is done',
    caughtBy: { seed: '4', nodes: 1, checker: 'linearizability' },
  },
  {
    name: 'flush the stored index and not the rows',
    file: ROWS,
    find: 'changes.push(row === undefined ? [binaryBytes(key), undefined] : sealed(key, row));',
    replace: "if (!(row === undefined && key !== '')) changes.push(sealed(key, row!));",
    reason: 'what was deleted is back after a restart',
    caughtBy: { seed: '0', nodes: 1, faults: ['power-loss', 'kill'], checker: 'acknowledged-kept' },
  },
  {
    name: 'leave clients out of a snapshot',
    file: ROWS,
    find: 'return rest === STORED_FAMILY ? [] :',
    replace: "return rest === STORED_FAMILY || rest.startsWith('s') ? [] :",
    reason: 'a write that is repeated is applied twice, where a snapshot was installed between',
    caughtBy: { seed: '2', nodes: 3, faults: LAGGING, checker: 'replicas' },
  },
  {
    name: 'offer a snapshot of another entry than its rows',
    file: SENDER,
    find: 'const { index, stampMs, generation } = snapshot.applied;',
    replace: 'const { index, stampMs, generation } = replica.applied;',
    reason: 'the follower lacks what was applied and not yet stored',
    caughtBy: {
      seed: '2',
      nodes: 3,
      faults: LAGGING,
      checker: 'replicas',
    },
  },
  {
    name: 'do not wait for the rows of a snapshot',
    file: RECEIVER,
    find: `      transfer.written = this.#options.rows.addRows(part.group, transfer.generation, part.rows);
`,
    replace: `      void this.#options.rows.addRows(part.group, transfer.generation, part.rows);
`,
    reason: 'the log says that rows are there which went with the power',
    caughtBy: {
      seed: '0',
      nodes: 3,
      faults: ['pause', 'kill', 'peer-partition', 'peer-drop', 'power-loss', 'crash-at-disk-operation'],
      checker: 'reasons',
    },
  },
  {
    name: 'go on with the rows from before a snapshot',
    file: 'node/raft/group-replica.ts',
    find: '    this.#machine = this.#createMachine(generation);\n    this.cache',
    replace: '    this.cache',
    reason: 'entries are applied to rows that lack those before',
    caughtBy: { seed: '5', nodes: 3, faults: LAGGING, checker: 'replicas' },
  },
  {
    name: 'keep entries from before a snapshot',
    file: 'node/raft/group-replica.ts',
    find: '    this.cache.reset(point.index);\n',
    replace: '',
    reason: 'the window of entries has a hole, and what is sent from it too',
    caughtBy: {
      seed: '3',
      nodes: 3,
      faults: LAGGING,
      checker: 'storage',
    },
  },
  {
    name: 'tell nobody of a snapshot',
    file: 'node/raft/group-replica.ts',
    find: '    this.#machine.onInstalled?.();\n',
    replace: '',
    reason: 'a node does not hear of keyspaces that came with a snapshot',
    caughtBy: {
      seed: '35',
      nodes: 3,
      faults: ['create-keyspace', 'pause', 'peer-partition'],
      checker: 'liveness',
    },
  },
];
