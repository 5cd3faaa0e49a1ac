import { mkdtempDisposableSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedNetwork } from '../../node/runtime/simulated/simulated-network.ts';
import { Authority } from '../process/certificates.ts';
import { connectedPeers, writeFiles, type PeerFiles } from '../transport/grpc-peers.ts';
import { describePeerTransport } from './peer-transport.ts';
import { realStage, simulatedStage } from './stage.ts';

async function grpcPeers(tls?: PeerFiles) {
  const port = tls === undefined ? {} : { tls, clientAuth: 'require' as const };
  const nodes = await connectedPeers(['a', 'b', 'c'], () => ({ tls }), port);
  const [a, b, c] = nodes.map(({ transport }) => transport);
  const dispose = async () => {
    for (const node of nodes) await node[Symbol.asyncDispose]();
  };
  return { stage: realStage(), subject: { a: a!, b: b!, c: c! }, dispose };
}

describePeerTransport('gRPC', () => grpcPeers());

describePeerTransport('gRPC with TLS both ways', async () => {
  const directory = mkdtempDisposableSync(join(tmpdir(), 'holdfast-peers-'));
  const authority = await Authority.create();
  const peers = await grpcPeers(writeFiles(directory.path, await authority.sign(), authority.certificate));
  const dispose = async () => {
    await peers.dispose();
    directory.remove();
  };
  return { ...peers, dispose };
});

describePeerTransport('simulated', () => {
  const stage = simulatedStage();
  const network = new SimulatedNetwork(stage.scheduler, new SeededRandom(1));
  const subject = { a: network.transport('a'), b: network.transport('b'), c: network.transport('c') };
  return Promise.resolve({ stage, subject, dispose: () => Promise.resolve() });
});
