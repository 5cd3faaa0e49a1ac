import * as grpc from '@grpc/grpc-js';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedNetwork } from '../../node/runtime/simulated/simulated-network.ts';
import { SystemRandom } from '../../node/runtime/system-random.ts';
import { GrpcPeerTransport } from '../../node/transport/grpc-peer-transport.ts';
import { startPeer } from '../runtime/grpc-peers.ts';
import { describePeerTransport } from './peer-transport.ts';
import { realStage, simulatedStage } from './stage.ts';

describePeerTransport('gRPC', async () => {
  const stage = realStage();
  const addresses = new Map<string, string>();
  const servers: grpc.Server[] = [];
  const start = async (self: string) => {
    const transport = new GrpcPeerTransport({
      clock: stage.clock,
      random: new SystemRandom(),
      self,
      clusterId: new Uint8Array(16).fill(1),
      addressOf: (peer) => addresses.get(peer),
    });
    const { server, port } = await startPeer(transport);
    servers.push(server);
    addresses.set(self, `127.0.0.1:${port}`);
    return transport;
  };
  const [a, b, c] = [await start('a'), await start('b'), await start('c')];
  const dispose = async () => {
    for (const transport of [a, b, c]) await transport.close();
    for (const server of servers) server.forceShutdown();
  };
  return { stage, subject: { a, b, c }, dispose };
});

describePeerTransport('simulated', () => {
  const stage = simulatedStage();
  const network = new SimulatedNetwork(stage.scheduler, new SeededRandom(1));
  const subject = { a: network.transport('a'), b: network.transport('b'), c: network.transport('c') };
  return Promise.resolve({ stage, subject, dispose: () => Promise.resolve() });
});
