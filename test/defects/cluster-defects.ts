/** Defects of how nodes become a cluster, and of how they leave it for a while. */
import type { WorldDefect } from './world-defect.ts';

export const CLUSTER_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'found a cluster with whoever has answered',
    file: 'node/cluster/founding.ts',
    find: 'if (silent.length === 0) return undefined;',
    replace: 'if (silent.length < others.length) return undefined;',
    reason: 'who answers late is left out of it',
    caughtBy: { seed: '0', nodes: 3, faults: [], checker: 'founding' },
  },
  {
    name: 'join whatever cluster there is',
    file: 'node/cluster/founding.ts',
    find: 'if (belonging !== undefined) return strangerTo(self, belonging);',
    replace: '',
    reason: 'a node that was emptied founds a second cluster with those that it remembers',
    caughtBy: { seed: '1', nodes: 3, faults: ['wipe'], checker: 'storage' },
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
    reason: 'writes that are proposed meanwhile are never answered, and what they hold is never given back',
    caughtBy: { seed: '18', nodes: 3, faults: ['orderly-stop', 'transfer-leader'], checker: 'bounds' },
  },
];
