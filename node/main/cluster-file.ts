import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { GossipSettings } from '../cluster/gossip/settings.ts';
import type { HistoryLimits } from '../coordination/coordination-upkeep.ts';
import { type ClusterFileContent, clusterSchema, knownKeys, type LogLevel } from './cluster-schema.ts';
import type { JwtSettings } from './auth-settings.ts';
import { findCollisions } from './cluster-collisions.ts';
import { nearestName } from './nearest-name.ts';
import type { EtcdLimits } from '../services/etcd/etcd-limits.ts';
import type { TlsSettings } from '../transport/tls-files.ts';
import type { NetworkAddress } from './network-address.ts';
import { type YamlPath, YamlSource } from './yaml-source.ts';

/** One node of the cluster. */
export interface NodeConfig {
  readonly name: string;
  readonly grpc: NetworkAddress;
  readonly http: NetworkAddress;
  /** Its data directory, absolute. */
  readonly data: string;
  /** Where it stands; empty: not said. */
  readonly zone: string;
  readonly datacentre: string;
  /** Its TLS files, absolute; undefined: plain text. */
  readonly tls?: TlsSettings;
}

/** cluster.yaml, checked, with its defaults, frozen. Sizes are in bytes. */
export interface ClusterConfig {
  /** The file, absolute. */
  readonly path: string;
  /** Name shown to people. */
  readonly cluster: string;
  readonly nodes: readonly NodeConfig[];
  readonly storage: {
    readonly segmentBytes: number;
    readonly minFreeBytes: number;
  };
  readonly limits: {
    readonly queueBytes: number;
    readonly inFlightBytes: number;
    readonly connectionInFlightBytes: number;
    readonly connections: number;
    readonly streamsPerConnection: number;
    readonly headerBytes: number;
  };
  readonly coordination: {
    readonly quotaBytes: number;
    readonly history: HistoryLimits;
    readonly leaseCheckpointMs: number;
  };
  readonly gossip: Pick<GossipSettings, 'probeIntervalMs' | 'suspicionIntervals' | 'syncIntervalMs'>;
  readonly auth: {
    readonly tokenTtlMs: number;
    /** Undefined: tokens are signed with a secret of the cluster. Paths are absolute. */
    readonly jwt: JwtSettings | undefined;
  };
  readonly etcd: EtcdLimits;
  readonly log: { readonly level: LogLevel };
}

/** A cluster.yaml that cannot be used. */
export class ClusterFileError extends Error {
  override readonly name = 'ClusterFileError';
  /** Every problem, in the order of the file: `cluster.yaml:12: nodes[0].grpc is …`. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

/** A node that a cluster file need not name. */
export interface UnlistedNode {
  readonly name: string;
  readonly grpc: NetworkAddress;
  readonly http: NetworkAddress;
  readonly zone?: string;
}

/**
 * Reads and checks a cluster file. Throws ClusterFileError with all problems at once. `unlisted`:
 * a node that is taken for one of the file, in place of the one that it has under the name.
 */
export function loadClusterFile(path: string, unlisted?: UnlistedNode): ClusterConfig {
  const source = new YamlSource(readText(path));
  const problems: Problem[] = source.errors.map(({ line, message }) => ({ line, message }));
  const content = source.value === undefined ? undefined : validated(source, problems);
  if (content !== undefined && problems.length === 0) return resolved(path, withUnlisted(content, unlisted));
  problems.sort((a, b) => a.line - b.line);
  throw new ClusterFileError(problems.map(({ line, message }) => `${path}:${line}: ${message}`));
}

/** What a file that names this node alone, and leaves everything else to the defaults, would be; `path`: where it would be. */
export function configWithoutFile(path: string, cluster: string, node: UnlistedNode): ClusterConfig {
  const only = { ...node, grpc: node.grpc.text, http: node.http.text };
  return resolved(path, clusterSchema.parse({ cluster, nodes: [only] }));
}

function withUnlisted(content: ClusterFileContent, node: UnlistedNode | undefined): ClusterFileContent {
  if (node === undefined) return content;
  const listed = content.nodes.find(({ name }) => name === node.name);
  const others = content.nodes.filter(({ name }) => name !== node.name);
  return { ...content, nodes: [...others, { ...listed, ...node }] };
}

interface Problem {
  line: number;
  message: string;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : `the file cannot be read (${code ?? message})`;
    throw new ClusterFileError([`${path}: ${why}; name a cluster file with --config FILE`]);
  }
}

function validated(source: YamlSource, problems: Problem[]): ClusterFileContent | undefined {
  const { value } = source;
  const report = (path: YamlPath, message: string) => problems.push({ line: source.lineOf(path), message });
  if (value === null) {
    problems.push({ line: 1, message: 'the file is empty: must have the keys cluster and nodes' });
    return undefined;
  }
  // By themselves, and before the rest is known to be right, so that nothing is held back.
  for (const { path, message } of findCollisions(value)) report(path, message);
  const result = clusterSchema.safeParse(value);
  for (const issue of result.error?.issues ?? []) {
    if (issue.code !== 'unrecognized_keys') report(issue.path, described(value, issue.path, issue.message));
    else for (const key of issue.keys) report([...issue.path, key], unknownKey(issue.path, key));
  }
  return result.data;
}

function described(value: unknown, path: YamlPath, allowed: string): string {
  const name = path.length === 0 ? 'the file' : pathText(path);
  const actual = valueAt(value, path);
  return actual === undefined ? `${name} is missing: ${allowed}` : `${name} is ${shown(actual)}: ${allowed}`;
}

function unknownKey(path: YamlPath, key: string): string {
  const known = knownKeys(path);
  const nearest = nearestName(key, known);
  const hint = nearest === undefined ? '' : `Did you mean ${nearest}? `;
  return `${pathText([...path, key])} is not a known setting. ${hint}Known are ${known.join(', ')}`;
}

/** A path as people write it: `nodes[0].grpc`. */
function pathText(path: YamlPath): string {
  const steps = path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`));
  return steps.join('').replace(/^\./, '');
}

function valueAt(value: unknown, path: YamlPath): unknown {
  let at: unknown = value;
  for (const step of path) at = (at as Record<PropertyKey, unknown> | null | undefined)?.[step];
  return at;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length <= 100 ? text : `${text.slice(0, 97)}…`;
}

function resolved(path: string, content: ClusterFileContent): ClusterConfig {
  const { storage, limits, coordination } = content;
  const directory = dirname(resolve(path));
  const twoSegments = 2 * storage.segment_bytes;
  return deepFreeze({
    path: resolve(path),
    cluster: content.cluster,
    nodes: content.nodes.map((node) => ({
      name: node.name,
      grpc: node.grpc,
      http: node.http,
      data: resolve(directory, node.data ?? join('.holdfast', node.name)),
      zone: node.zone ?? '',
      datacentre: node.datacentre ?? '',
      ...(content.tls === undefined ? {} : { tls: tlsOf(node.name, directory, content.tls) }),
    })),
    storage: {
      segmentBytes: storage.segment_bytes,
      minFreeBytes: storage.min_free_bytes ?? twoSegments + 512 * 1_048_576,
    },
    limits: {
      queueBytes: limits.queue_bytes,
      inFlightBytes: limits.in_flight_bytes,
      connectionInFlightBytes: limits.connection_in_flight_bytes,
      connections: limits.connections,
      streamsPerConnection: limits.streams_per_connection,
      headerBytes: limits.header_bytes,
    },
    coordination: {
      quotaBytes: coordination.quota_bytes,
      history: { ageMs: coordination.history_age, revisions: coordination.history_revisions },
      leaseCheckpointMs: coordination.lease_checkpoint,
    },
    gossip: {
      probeIntervalMs: content.gossip.probe_interval,
      suspicionIntervals: content.gossip.suspicion_intervals,
      syncIntervalMs: content.gossip.sync_interval,
    },
    auth: {
      tokenTtlMs: content.auth.token_ttl,
      jwt: content.auth.jwt && {
        algorithm: content.auth.jwt.algorithm,
        publicKey: pathIn(directory, content.auth.jwt.public_key),
        privateKey: pathIn(directory, content.auth.jwt.private_key),
      },
    },
    etcd: { maxTxnOps: content.etcd.max_txn_ops, maxRequestBytes: content.etcd.max_request_bytes },
    log: content.log,
  });
}

function pathIn(directory: string, path: string | undefined): string | undefined {
  return path === undefined ? undefined : resolve(directory, path);
}

function tlsOf(
  name: string,
  directory: string,
  { cert, key, ca, client_auth, http_client_auth }: NonNullable<ClusterFileContent['tls']>,
): TlsSettings {
  const path = (text: string) => resolve(directory, text.replaceAll('{name}', name));
  return {
    cert: path(cert),
    key: path(key),
    ca: ca === undefined ? undefined : path(ca),
    clientAuth: client_auth,
    httpClientAuth: http_client_auth ?? client_auth,
  };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
