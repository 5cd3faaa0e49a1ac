import { durationMs, type Duration } from '@holdfast/client/duration';
import { z } from 'zod';
import { DEFAULT_GOSSIP_SETTINGS } from '../cluster/gossip/settings.ts';
import { DEFAULT_TOKEN_TTL_MS } from '../coordination/auth.ts';
import { DEFAULT_QUOTA_BYTES, MAX_TRANSACTION_OPERATIONS } from '../coordination/config-limits.ts';
import { DEFAULT_HISTORY } from '../coordination/coordination-upkeep.ts';
import { DEFAULT_LEASE_CHECKPOINT_MS } from '../coordination/leases.ts';
import { DEFAULT_ETCD_LIMITS } from '../services/etcd/etcd-limits.ts';
import { JWT_ALGORITHMS, type JwtAlgorithm } from '../runtime/signatures.ts';
import { formatByteSize, parseByteSize } from './byte-size.ts';
import { parseNetworkAddress } from './network-address.ts';

// What cluster.yaml may say. The message of each rule is only what is allowed: place and
// value are put before it by whoever reports the problem. Optional values have their
// default here, except those that depend on another value or on the place of the file.

const KIB = 1_024;
const MIB = 1_024 * KIB;
const GIB = 1_024 * MIB;

type Check<T> = (value: unknown) => { ok: T } | { problem: string };

function field<T>(check: Check<T>) {
  return z.unknown().transform((value, context): T => {
    const result = check(value);
    if ('ok' in result) return result.ok;
    context.addIssue({ code: 'custom', message: result.problem, input: value });
    return z.NEVER;
  });
}

/** A field that may be left out, but not be empty. */
function optional<T>(check: Check<T>) {
  return field(check).optional();
}

/** A field that has a value when it is left out. */
function preset<T>(check: Check<T>, value: T) {
  return field(check).prefault(value);
}

function text(form: RegExp, problem: string): Check<string> {
  return (value) => (typeof value === 'string' && form.test(value) ? { ok: value } : { problem });
}

function address(value: unknown) {
  const parsed = parseNetworkAddress(typeof value === 'string' ? value : '');
  return 'problem' in parsed ? parsed : { ok: parsed };
}

function byteSize(least: number, most: number): Check<number> {
  const range = `${formatByteSize(least)} to ${formatByteSize(most)}`;
  const problem = `must be ${range}, as a number of bytes or with a unit (KiB, MiB, GiB, TiB) such as 64MiB`;
  return (value) => {
    const bytes = parseByteSize(value);
    return bytes === undefined || bytes < least || bytes > most ? { problem } : { ok: bytes };
  };
}

function whole(least: number, most: number): Check<number> {
  const problem = `must be a whole number from ${least} to ${most}`;
  return (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
      ? { ok: value }
      : { problem };
}

const DAY_MS = 86_400_000;

/** Milliseconds of a number with a unit. */
function duration(leastMs: number, mostMs: number, range: string): Check<number> {
  const problem = `must be ${range}, as a number with a unit (ms, s, m, h, d) such as 10s`;
  return (value) => {
    const ms = value === 0 ? 0 : typeof value === 'string' ? parsedMs(value) : NaN;
    return ms >= leastMs && ms <= mostMs ? { ok: ms } : { problem };
  };
}

function parsedMs(text: string): number {
  try {
    return durationMs(text as Duration, '');
  } catch {
    return NaN;
  }
}

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
/** How much a node logs. */
export type LogLevel = (typeof LEVELS)[number];

function level(value: unknown): { ok: LogLevel } | { problem: string } {
  const found = LEVELS.find((known) => known === value);
  return found === undefined ? { problem: `must be one of ${LEVELS.join(', ')}` } : { ok: found };
}

const path = text(/^[^\0]{1,4096}$/u, 'must be the path of a directory');

const place = text(/^[A-Za-z0-9._-]{1,64}$/, 'must be [A-Za-z0-9._-]{1,64}, such as eu-1a');

const node = z.strictObject(
  {
    name: field(text(/^[a-z0-9][a-z0-9-]{0,62}$/, 'must be [a-z0-9][a-z0-9-]{0,62}, such as n1')),
    grpc: field(address),
    http: field(address),
    data: optional(path),
    zone: optional(place),
    datacentre: optional(place),
  },
  { error: 'must have the keys name, grpc and http' },
);

const CLIENT_AUTH = ['none', 'request', 'require'] as const;

function clientAuth(value: unknown): { ok: (typeof CLIENT_AUTH)[number] } | { problem: string } {
  const found = CLIENT_AUTH.find((known) => known === value);
  return found === undefined ? { problem: `must be one of ${CLIENT_AUTH.join(', ')}` } : { ok: found };
}

const pemFile = text(/^[^\0]{1,4096}$/u, 'must be the path of a PEM file; {name} in it stands for the node');

const tls = z
  .strictObject(
    {
      cert: field(pemFile),
      key: field(pemFile),
      ca: optional(pemFile),
      client_auth: preset(clientAuth, 'none'),
      http_client_auth: optional(clientAuth),
    },
    { error: 'must hold cert and key; leave it out for no TLS' },
  )
  // Without authorities of one's own, everybody with a certificate of any public one would be let in.
  .refine(({ ca, client_auth, http_client_auth }) => {
    return ca !== undefined || [client_auth, http_client_auth ?? 'none'].every((auth) => auth === 'none');
  }, 'must name ca, the authority of the clients, when client_auth or http_client_auth asks for certificates');

const storage = z.strictObject(
  {
    segment_bytes: preset(byteSize(MIB, GIB), 64 * MIB),
    min_free_bytes: optional(byteSize(0, 1_024 * GIB)),
  },
  { error: 'must hold settings; leave it out for the defaults' },
);

const limits = z.strictObject(
  {
    queue_bytes: preset(byteSize(MIB, 64 * GIB), 64 * MIB),
    in_flight_bytes: preset(byteSize(MIB, 64 * GIB), 256 * MIB),
    connection_in_flight_bytes: preset(byteSize(MIB, 64 * GIB), 64 * MIB),
    connections: preset(whole(1, 1_000_000), 10_000),
    streams_per_connection: preset(whole(1, 100_000), 1_000),
    header_bytes: preset(byteSize(4 * KIB, MIB), 16 * KIB),
  },
  { error: 'must hold settings; leave it out for the defaults' },
);

const coordination = z.strictObject(
  {
    quota_bytes: preset(byteSize(MIB, 64 * GIB), DEFAULT_QUOTA_BYTES),
    history_age: field(duration(0, 3_650 * DAY_MS, '0 to 3650d')).default(DEFAULT_HISTORY.ageMs),
    history_revisions: preset(whole(0, 1_000_000_000), DEFAULT_HISTORY.revisions),
    lease_checkpoint: field(duration(1_000, 600_000, '1s to 10m')).default(DEFAULT_LEASE_CHECKPOINT_MS),
  },
  { error: 'must hold settings; leave it out for the defaults' },
);

const gossip = z.strictObject(
  {
    probe_interval: field(duration(500, 60_000, '500ms to 1m')).default(
      DEFAULT_GOSSIP_SETTINGS.probeIntervalMs,
    ),
    suspicion_intervals: preset(whole(1, 100), DEFAULT_GOSSIP_SETTINGS.suspicionIntervals),
    sync_interval: field(duration(1_000, 600_000, '1s to 10m')).default(
      DEFAULT_GOSSIP_SETTINGS.syncIntervalMs,
    ),
  },
  { error: 'must hold settings; leave it out for the defaults' },
);

const algorithm: Check<JwtAlgorithm> = (value) => {
  const found = JWT_ALGORITHMS.find((known) => known === value);
  return found === undefined ? { problem: `must be one of ${JWT_ALGORITHMS.join(', ')}` } : { ok: found };
};

const keyFile = text(/^[^\0]{1,4096}$/u, 'must be the path of a file');

const jwt = z
  .strictObject(
    { algorithm: field(algorithm), public_key: optional(keyFile), private_key: optional(keyFile) },
    { error: 'must hold algorithm, and public_key, private_key or both' },
  )
  .refine(
    ({ public_key, private_key }) => public_key !== undefined || private_key !== undefined,
    'must name public_key, private_key or both',
  );

const auth = z.strictObject(
  {
    token_ttl: field(duration(10_000, 30 * DAY_MS, '10s to 30d')).default(DEFAULT_TOKEN_TTL_MS),
    jwt: jwt.optional(),
  },
  { error: 'must hold settings; leave it out for the defaults' },
);

const etcd = z.strictObject(
  {
    max_txn_ops: preset(whole(1, MAX_TRANSACTION_OPERATIONS), DEFAULT_ETCD_LIMITS.maxTxnOps),
    max_request_bytes: preset(byteSize(64 * KIB, 15 * MIB), DEFAULT_ETCD_LIMITS.maxRequestBytes),
  },
  { error: 'must hold settings; leave it out for the defaults' },
);

const log = z.strictObject(
  { level: preset(level, 'info') },
  { error: 'must hold settings; leave it out for the defaults' },
);

/** cluster.yaml, as YAML gives it. */
export const clusterSchema = z.strictObject(
  {
    cluster: field(text(/^[a-z0-9-]{1,64}$/, 'must be [a-z0-9-]{1,64}, such as holdfast-dev')),
    nodes: z
      .array(node, { error: 'must be a list of nodes' })
      .min(1, { error: 'must name at least one node' })
      .max(7, { error: 'must name at most 7 nodes' }),
    tls: tls.optional(),
    storage: storage.default(() => storage.parse({})),
    limits: limits.default(() => limits.parse({})),
    coordination: coordination.default(() => coordination.parse({})),
    gossip: gossip.default(() => gossip.parse({})),
    auth: auth.default(() => auth.parse({})),
    etcd: etcd.default(() => etcd.parse({})),
    log: log.default(() => log.parse({})),
  },
  { error: 'must have the keys cluster and nodes' },
);

/** What the schema makes of a valid file. */
export type ClusterFileContent = z.output<typeof clusterSchema>;

/** The keys that may stand at a place of the file. */
export function knownKeys(path: readonly PropertyKey[]): string[] {
  if (path.length === 0) return Object.keys(clusterSchema.shape);
  if (path[0] === 'nodes') return Object.keys(node.shape);
  if (path[0] === 'tls') return Object.keys(tls.shape);
  if (path[0] === 'storage') return Object.keys(storage.shape);
  if (path[0] === 'auth') return Object.keys(path[1] === 'jwt' ? jwt.shape : auth.shape);
  if (path[0] === 'etcd') return Object.keys(etcd.shape);
  if (path[0] === 'gossip') return Object.keys(gossip.shape);
  if (path[0] === 'coordination') return Object.keys(coordination.shape);
  return Object.keys(path[0] === 'limits' ? limits.shape : log.shape);
}
