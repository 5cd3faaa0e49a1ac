/** Defects of how nodes become a cluster, and of how they leave it for a while. */
import type { WorldDefect } from './world-defect.ts';

export const CLUSTER_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'found a cluster with whoever has answered',
    file: 'node/cluster/founding.ts',
    find: 'if (silent.length === 0) return undefined;',
    replace: 'if (silent.length < others.length) return undefined;',
    reason: 'two clusters come from one file',
    caughtBy: { seed: '0', nodes: 3, faults: [], checker: 'one cluster' },
  },
  {
    name: 'join whatever cluster there is',
    file: 'node/cluster/founding.ts',
    find: 'if (belonging !== undefined) return strangerTo(self, belonging);',
    replace: '',
    reason: 'a node that was emptied founds a second cluster with those that it remembers',
    caughtBy: { seed: '0', nodes: 3, faults: ['wipe'], checker: 'one cluster' },
  },
  {
    name: 'take messages of another cluster',
    file: 'node/transport/grpc-peer-transport.ts',
    find: 'if (Buffer.compare(request.clusterId, clusterId) !== 0)',
    replace: 'if (request.clusterId.length !== clusterId.length)',
    reason: 'nodes of two clusters vote and append for each other',
    caughtBy: { rig: 'test/defects/strangers.ts', seed: '0', nodes: 2, checker: 'strangers' },
  },
  {
    name: 'drop what comes during a handover',
    file: 'node/raft/proposing.ts',
    find: "} else if (result.refused === 'not leader' && !replica.isAlone) this.giveUp(replica, 'not leader');",
    replace:
      "} else if (result.refused === 'transferring') proposals.drainWaiting();\n" +
      "    else if (result.refused === 'not leader' && !replica.isAlone) this.giveUp(replica, 'not leader');",
    reason: 'writes that are proposed meanwhile are never answered',
    caughtBy: { seed: '0', nodes: 3, faults: ['orderly-stop', 'transfer-leader'], checker: 'idle' },
  },
  {
    name: 'say that what a handover interrupts is not applied',
    file: 'node/raft/proposing.ts',
    find: "for (const proposal of lost) proposal.onFailed({ cause, outcome: 'UNKNOWN', leader });",
    replace: "for (const proposal of lost) proposal.onFailed({ cause, outcome: 'NOT_APPLIED', leader });",
    reason: 'entries that the next leader has and commits were called not applied',
    caughtBy: {
      seed: '0',
      nodes: 3,
      faults: ['orderly-stop', 'transfer-leader'],
      checker: 'linearizability',
    },
  },
  {
    name: 'hand leaderships to nodes that are about to stop',
    file: 'node/raft/leaderships.ts',
    find: 'return this.#isLeaving ? LEAVING : this.#led;',
    replace: 'return 0;',
    reason: 'a node that stops is given leaderships until it has ended',
    caughtBy: { seed: '0', nodes: 3, faults: ['orderly-stop'], checker: 'handover' },
  },
];
