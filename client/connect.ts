import { GrpcTransport } from './grpc-transport.ts';
import { Holdfast } from './holdfast.ts';
import { LoginTransport } from './login.ts';
import { type ConnectOptions, resolveOptions } from './options.ts';
import { SystemClock } from './system-clock.ts';
import { SystemRandom } from './system-random.ts';

/**
 * Makes a client. Connections are opened by the first call that needs them, so an
 * unreachable node shows there, not here. Error: INVALID_FIELD for a wrong option.
 */
export async function connect(options: ConnectOptions = {}): Promise<Holdfast> {
  const resolved = resolveOptions(options, process.env);
  const clock = options.clock ?? new SystemClock();
  const { login, endpoints } = resolved;
  // A stream may wait for a node that is away only as long as there is no other.
  const patient = () => client.knownNodes === 1;
  const grpc = (token?: () => string | undefined) =>
    new GrpcTransport(options.tls, { endpointCount: endpoints.length, patient, token });
  const network = () => (login === undefined ? grpc() : new LoginTransport(login, clock, grpc));
  const client: Holdfast = new Holdfast(resolved, {
    clock,
    random: options.random ?? new SystemRandom(),
    transport: options.transport ?? network(),
  });
  return client;
}
