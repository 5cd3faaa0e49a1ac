import type { NodeRecord } from '../../../node/cluster/gossip/node-record.ts';

/** A record of a node that is alive. */
export function record(name: string, change: Partial<NodeRecord> = {}): NodeRecord {
  const run = { member: 1, start: 1, incarnation: 0, state: 'alive', accuser: '' } as const;
  const meta = {
    zone: '',
    datacentre: '',
    grpc: `${name}:7401`,
    http: `${name}:7501`,
    version: '1',
    load: 0,
  };
  return { name, ...run, ...meta, ...change };
}
