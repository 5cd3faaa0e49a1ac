import { connect } from '@holdfast/client/connect';
import { HoldfastError } from '@holdfast/client/error';
import { GrpcTransport } from '@holdfast/client/grpc-transport';
import type { Holdfast } from '@holdfast/client/holdfast';
import { LoginTransport } from '@holdfast/client/login';
import { SystemClock } from '@holdfast/client/system-clock';
import type { Transport } from '@holdfast/client/transport';
import { asFailure, CommandFailure, usageFailure } from './command-failure.ts';
import { type EndpointOptions, type KnownEndpoint, selectEndpoints } from './endpoint-selection.ts';
import { loginOfOptions, type LoginCommandOptions } from './command-login.ts';
import { ExitCode } from './exit-code.ts';
import { ReachabilityTransport } from './reachability.ts';

/** Options of every command that asks the cluster. */
export interface ClusterOptions extends EndpointOptions, LoginCommandOptions {
  json?: boolean;
  timeout?: number;
}

/** What a command does with a cluster; every call it makes must carry the signal. */
export type ClusterWork<T> = (client: Holdfast, signal: AbortSignal) => Promise<T>;

/** Runs work against the cluster that the options name; fails with CommandFailure. */
export async function withCluster<T>(options: ClusterOptions, work: ClusterWork<T>): Promise<T> {
  return callEndpoints(await selectEndpoints(options), options, work);
}

/** Runs work against these nodes; fails with CommandFailure. */
export async function callEndpoints<T>(
  endpoints: readonly KnownEndpoint[],
  options: ClusterOptions,
  work: ClusterWork<T>,
): Promise<T> {
  const names = endpoints.map(({ grpc }) => grpc);
  const login = loginOfOptions(options);
  let transport!: ReachabilityTransport;
  const network = (token?: () => string | undefined) => (transport = reachable(endpoints, names, token));
  const shown = login === undefined ? network() : new LoginTransport(login, new SystemClock(), network);
  const client = await connected(names, options, shown);
  try {
    return await work(client, transport.hopeless);
  } catch (error) {
    throw explained(error, names, transport);
  } finally {
    // Not awaited: the process ends next, and there is nothing left that must settle.
    void client.close({ timeout: 0 });
  }
}

function reachable(
  endpoints: readonly KnownEndpoint[],
  names: readonly string[],
  token: (() => string | undefined) | undefined,
): ReachabilityTransport {
  try {
    const options = { endpointCount: names.length, patient: false, token };
    return new ReachabilityTransport(new GrpcTransport(endpoints[0]?.tls, options), names);
  } catch (error) {
    throw usageFailure((error as Error).message);
  }
}

async function connected(names: string[], options: ClusterOptions, transport: Transport) {
  try {
    return await connect({ endpoints: names, timeout: options.timeout, transport });
  } catch (error) {
    throw usageFailure((error as Error).message);
  }
}

function explained(
  error: unknown,
  names: readonly string[],
  transport: ReachabilityTransport,
): CommandFailure {
  if (!(error instanceof HoldfastError) || transport.answered) return asFailure(error);
  if (error.reason === 'DEADLINE_EXCEEDED')
    return new CommandFailure(ExitCode.UNREACHABLE, asFailure(error).json);
  if (error.reason === 'TLS_FAILED') return new CommandFailure(ExitCode.UNREACHABLE, asFailure(error).json);
  if (!transport.hopeless.aborted) return asFailure(error);
  const message =
    `no node answered (asked ${names.join(', ')}). ${fate(error)}` +
    'Start the cluster with `holdfast start`, or say where it is with --endpoints host:port. [UNAVAILABLE]';
  const outcome = error.outcome ?? null;
  return new CommandFailure(ExitCode.UNREACHABLE, {
    reason: 'UNAVAILABLE',
    code: 'UNAVAILABLE',
    message,
    outcome,
  });
}

function fate({ outcome }: HoldfastError): string {
  if (outcome === 'NOT_APPLIED') return 'Nothing was written. ';
  return outcome === 'UNKNOWN' ? 'The write may have been applied: read before you repeat it. ' : '';
}
