/** Two nodes that dial each other by mistake: their cluster.yaml files name the same ports, and they are of different clusters. */
import { until } from '../conformance/stage.ts';
import { CheckFailure } from '../raft/check-failure.ts';
import { clock, PeerNode } from '../transport/grpc-peers.ts';

/** Throws when one takes what the other sends. */
export async function play(): Promise<void> {
  const addresses = new Map<string, string>();
  const addressOf = (peer: string) => addresses.get(peer);
  const clusters = [1, 2].map((byte) => new Uint8Array(16).fill(byte));
  await using first = new PeerNode('a', { addressOf, clusterId: clusters[0]! });
  await using second = new PeerNode('b', { addressOf, clusterId: clusters[1]! });
  addresses.set('a', (await first.listen()).address);
  addresses.set('b', (await second.listen()).address);
  for (const { transport } of [first, second]) transport.start(['a', 'b']);
  const isOver = () => {
    first.transport.send('b', Buffer.from('from another cluster'));
    return second.heard.length > 0 || (first.broken.length > 0 && second.broken.length > 0);
  };
  await until(clock, isOver);
  if (second.heard.length > 0)
    throw new CheckFailure('strangers', 'a node takes messages of another cluster');
}
