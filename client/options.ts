import type { Clock } from './clock.ts';
import type { Duration } from './duration.ts';
import { parseEndpoints } from './endpoints.ts';
import { timeoutMs } from './duration.ts';
import type { Random } from './random.ts';
import type { Transport } from './transport.ts';
import { invalid } from './values.ts';

/** Options of `connect`. */
export interface ConnectOptions {
  /** Nodes as `host:port`, a list or with commas. Default: HOLDFAST_ENDPOINTS, else 127.0.0.1:7401. */
  endpoints?: string | readonly string[] | undefined;
  /** Default time of a call, 1 ms to 5 min. Default 5 s. */
  timeout?: Duration | undefined;
  /**
   * Whether the client learns from the node that answers first which others there are, and which
   * of them seem alive: it goes on with them when those that it was given fail, and asks first
   * who is not suspected. It follows that by one stream, and needs the nodes to be reachable at
   * the addresses that they have in the cluster. Default: true; with a `transport` of one's own false.
   */
  discover?: boolean | undefined;
  /**
   * Bound on the bytes of unanswered calls; more are refused with OVERLOADED. Higher: more
   * memory when a node is slow; lower: bursts are refused sooner. Default 64 MiB.
   */
  maxInFlightBytes?: number | undefined;
  /**
   * TLS. Default: none. A node whose certificate is not trusted, or which does not speak TLS,
   * fails calls with TLS_FAILED, which are not repeated: it would stay so.
   */
  tls?: TlsOptions | undefined;
  /**
   * Who calls, for a cluster that asks. Default: HOLDFAST_USER with HOLDFAST_PASSWORD, else nobody.
   * A wrong password fails calls with LOGIN_FAILED. Where nobody is asked it is not used.
   */
  login?: LoginOptions | undefined;
  /** The network. Default: gRPC; `tls` and `login` belong to that. */
  transport?: Transport | undefined;
  /** Time. Default: the machine's. */
  clock?: Clock | undefined;
  /** Randomness. Default: the operating system's. */
  random?: Random | undefined;
}

/** TLS of the connections, 1.2 or later; certificates and keys in PEM. `{}` is TLS, too. */
export interface TlsOptions {
  /** Authorities whose certificates a node may have. Default: those of Node.js. */
  ca?: Uint8Array | string | undefined;
  /** Certificate of this client, for nodes that ask for one; `key` belongs to it. */
  certificate?: Uint8Array | string | undefined;
  /** Private key of the certificate. */
  key?: Uint8Array | string | undefined;
  /** Name that the certificates of the nodes are for. Default: the host of the endpoint. */
  serverName?: string | undefined;
}

/** A user of the cluster. */
export interface LoginOptions {
  /** Its name. */
  user: string;
  /** Its password, or how to get it, which is done before each login. */
  password: string | (() => string | Promise<string>);
}

/** Options with their defaults, checked. */
export interface ResolvedOptions {
  readonly endpoints: readonly string[];
  readonly timeoutMs: number;
  readonly maxInFlightBytes: number;
  readonly discover: boolean;
  /** Undefined: nobody. */
  readonly login: LoginOptions | undefined;
}

const DEFAULT_ENDPOINT = '127.0.0.1:7401';

/** Checks options and fills in defaults; INVALID_FIELD naming the one that is wrong. */
export function resolveOptions(
  options: ConnectOptions,
  environment: Readonly<Record<string, string | undefined>>,
): ResolvedOptions {
  const maxInFlightBytes = options.maxInFlightBytes ?? 64 * 1_048_576;
  if (!Number.isSafeInteger(maxInFlightBytes) || maxInFlightBytes < 1) {
    throw invalid(
      'maxInFlightBytes',
      `maxInFlightBytes is ${maxInFlightBytes}, allowed are whole numbers from 1`,
    );
  }
  checkTls(options.tls);
  const endpoints = options.endpoints ?? (environment['HOLDFAST_ENDPOINTS'] || DEFAULT_ENDPOINT);
  return Object.freeze({
    endpoints: parseEndpoints(endpoints),
    timeoutMs: timeoutMs(options.timeout ?? 5_000),
    maxInFlightBytes,
    discover: options.discover ?? options.transport === undefined,
    login: options.login ?? loginOf(environment),
  });
}

function loginOf({
  HOLDFAST_USER: user,
  HOLDFAST_PASSWORD: password,
}: Readonly<Record<string, string | undefined>>): LoginOptions | undefined {
  return user && password ? { user, password } : undefined;
}

function checkTls(tls: TlsOptions | undefined): void {
  if (tls === undefined || (tls.certificate === undefined) === (tls.key === undefined)) return;
  const missing = tls.key === undefined ? 'key' : 'certificate';
  throw invalid(`tls.${missing}`, `tls.${missing} is missing: certificate and key are given together`);
}
