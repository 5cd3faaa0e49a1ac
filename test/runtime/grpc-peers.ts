import * as grpc from '@grpc/grpc-js';
import type { GrpcPeerTransport } from '../../node/transport/grpc-peer-transport.ts';

/** Serves a transport on 127.0.0.1, on a free port or the given one. */
export async function startPeer(
  transport: GrpcPeerTransport,
  port = 0,
): Promise<{ server: grpc.Server; port: number }> {
  const server = new grpc.Server({
    'grpc.max_receive_message_length': 64 * 2 ** 20,
    'grpc.enable_channelz': 0,
  });
  transport.addTo(server);
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, actual) =>
      error ? reject(error) : resolve(actual),
    );
  });
  return { server, port: bound };
}
