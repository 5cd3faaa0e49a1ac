/** Defects of the host of groups: what is written, sent, applied and read when, and by whom. */
import type { WorldDefect } from './world-defect.ts';

const HOST = 'node/raft/group-host.ts';
const REPLICA = 'node/raft/group-replica.ts';
const CRASHES = ['power-loss', 'power-loss-of-all', 'crash-at-disk-operation'];
const CUTS = ['peer-partition', 'peer-one-way', 'pause', 'transfer-leader'];

export const HOST_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'send promises before they are durable',
    file: 'node/raft/group-host.ts',
    find: `    if (ready.write !== undefined) this.#writer.add(replica, ready.write);
`,
    replace: `    if (ready.write !== undefined) {
      this.#writer.add(replica, ready.write);
      for (const message of ready.write.messages) this.#courier?.post(group, message);
    }
`,
    reason: 'a vote or an acknowledgement goes with the power',
    caughtBy: {
      seed: '2',
      nodes: 3,
      faults: CRASHES,
      checker: 'storage',
    },
  },
  {
    name: 'tell the core of writes before they are durable',
    file: 'node/raft/log-writer.ts',
    find: `      await log.append(records);
`,
    replace: `      onWritten(writes.splice(0));
      await log.append(records);
`,
    reason: 'a leader counts itself, and applies what it may lose',
    caughtBy: { seed: '0', nodes: 1, faults: ['power-loss', 'crash-at-disk-operation'], checker: 'versions' },
  },
  {
    name: 'say that what was proposed was not applied',
    file: 'node/raft/proposing.ts',
    find: "proposal.onFailed({ cause, outcome: 'UNKNOWN', ...notLed });",
    replace: "proposal.onFailed({ cause, outcome: 'NOT_APPLIED', ...notLed });",
    reason: 'the next leader may commit what a leader that was deposed has in its log',
    caughtBy: {
      seed: '15',
      nodes: 3,
      faults: ['transfer-leader', 'peer-delay', 'peer-one-way', 'peer-drop'],
      checker: 'applied-once',
    },
  },
  {
    name: 'say that what was proposed was applied',
    file: 'node/raft/proposing.ts',
    find: "proposal.onFailed({ cause, outcome: 'UNKNOWN', ...notLed });",
    replace:
      'proposal.onApplied({ version: 1, counter: undefined, existed: undefined, succeeded: true, results: [] });',
    reason: 'the next leader may replace what a leader that was deposed has in its log',
    caughtBy: { seed: '0', nodes: 3, faults: CUTS, checker: 'versions' },
  },
  {
    name: 'free segments of groups not known yet',
    file: HOST,
    find: '    if (!this.#recovery.isOver) return; // groups that are still to be added need their entries\n',
    replace: '',
    reason: 'a group that is added late finds its entries gone',
    caughtBy: {
      seed: '4',
      nodes: 3,
      faults: [...CRASHES, 'create-keyspace', 'kill', 'orderly-stop'],
      checker: 'storage',
    },
  },
  {
    name: 'take the groups that are there for all',
    file: 'node/raft/recovery-wait.ts',
    find: `coordination.applied.index >= Math.min(this.#recoveredTo, coordination.lastIndex)`,
    replace: `coordination.applied.index >= 0`,
    reason: 'rows of a group that group 0 has yet to name are removed',
    caughtBy: {
      seed: '1',
      nodes: 3,
      faults: ['power-loss', 'power-loss-of-all', 'crash-at-disk-operation', 'create-keyspace'],
      checker: 'storage',
    },
  },
  {
    name: 'keep bytes of proposals',
    file: 'node/raft/proposal-queue.ts',
    find: `    this.#onQueued(-made.bytes);
`,
    replace: `    void made.bytes;
`,
    reason: 'the queue fills and stays full',
    caughtBy: { seed: '0', nodes: 1, checker: 'bounds' },
  },
  {
    name: 'read without read-index',
    file: REPLICA,
    find: 'return this.isAlone && this.core.isLeader && this.#termBegun',
    replace: 'return this.core.isLeader && this.#termBegun',
    reason: 'a leader that was replaced and does not know it serves what it has',
    caughtBy: {
      seed: '104',
      nodes: 5,
      faults: ['peer-partition', 'peer-bridge', 'pause'],
      checker: 'linearizability',
    },
  },
  {
    name: 'read from anybody',
    file: REPLICA,
    find: 'return this.isAlone && this.core.isLeader && this.#termBegun === this.core.term;',
    replace: 'return this.#termBegun >= 0;',
    reason: 'a follower serves what it has',
    caughtBy: { seed: '0', nodes: 3, faults: CUTS, checker: 'linearizability' },
  },
  {
    name: 'read before the index is applied',
    file: 'node/raft/read-queue.ts',
    find: `this.#confirmed.push({ ...asked, index, ticks: 0 });`,
    replace: `this.#confirmed.push({ ...asked, index: index - index, ticks: 0 });`,
    reason: 'a follower serves what it has',
    caughtBy: { seed: '3', nodes: 3, faults: ['peer-delay', 'slow-disk'], checker: 'linearizability' },
  },
  {
    name: 'keep what was cut off',
    file: 'node/raft/entry-cache.ts',
    find: '    this.cutFrom(entries[0]!.index);\n',
    replace: '',
    reason: 'entries that another leader replaced are sent and applied',
    caughtBy: {
      seed: '4',
      nodes: 3,
      faults: CUTS,
      checker: 'storage',
    },
  },
  {
    name: 'free entries and do not tell the core',
    file: REPLICA,
    find: 'if (freed > 0) this.core.compact(freed);',
    replace: 'void freed;',
    reason: 'a follower waits for ever for entries that are not at hand',
    caughtBy: { seed: '3', nodes: 3, faults: ['pause', 'kill', 'peer-partition'], checker: 'liveness' },
  },
  {
    name: 'treat a wiped replica as the old one',
    file: 'node/raft/peer-memory.ts',
    find: "return 'data removed';",
    replace: "return 'known';",
    reason: 'a voter that forgot what it promised votes again',
    caughtBy: { rig: 'test/defects/emptied-node.ts', seed: '0', nodes: 3, checker: 'refusal' },
  },
  {
    name: 'treat a rolled-back replica as the old one',
    file: 'node/raft/peer-memory.ts',
    find: "return 'data rolled back';",
    replace: "return 'known';",
    reason: 'a voter that forgot what it promised votes again',
    caughtBy: { seed: '5', nodes: 3, faults: ['rollback'], checker: 'refusal' },
  },
  {
    name: 'no probation',
    file: 'node/raft/peer-courier.ts',
    find: 'return this.#probation === undefined;',
    replace: 'return true;',
    reason: 'a node whose data was removed votes before it is told',
    caughtBy: { seed: '2', nodes: 3, faults: ['kill'], checker: 'probation' },
  },
];
