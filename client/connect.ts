import { GrpcTransport } from './grpc-transport.ts';
import { Holdfast } from './holdfast.ts';
import { type ConnectOptions, resolveOptions } from './options.ts';
import { SystemClock } from './system-clock.ts';
import { SystemRandom } from './system-random.ts';

/**
 * Makes a client. Connections are opened by the first call that needs them, so an
 * unreachable node shows there, not here. Error: INVALID_FIELD for a wrong option.
 */
export async function connect(options: ConnectOptions = {}): Promise<Holdfast> {
  const resolved = resolveOptions(options, process.env);
  return new Holdfast(resolved, {
    clock: options.clock ?? new SystemClock(),
    random: options.random ?? new SystemRandom(),
    transport:
      options.transport ?? new GrpcTransport(options.tls, { endpointCount: resolved.endpoints.length }),
  });
}
