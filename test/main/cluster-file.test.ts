import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ClusterFileError, configWithoutFile, loadClusterFile } from '../../node/main/cluster-file.ts';
import { JWT_ALGORITHMS } from '../../node/runtime/signatures.ts';
import { temporaryDirectory } from './run-holdfast.ts';

const VALID = `cluster: test
nodes:
  - name: n1
    grpc: 127.0.0.1:7401
    http: 127.0.0.1:7501
    data: disk/n1
  - name: n2
    grpc: "[::1]:7402"
    http: node-2.example.org:7502
    zone: eu-1a
    datacentre: eu-1
storage:
  segment_bytes: 1MiB
  min_free_bytes: 0
limits:
  queue_bytes: 32MiB
  in_flight_bytes: 64MiB
  connections: 10
  streams_per_connection: 20
  header_bytes: 8KiB
  connection_in_flight_bytes: 32MiB
log:
  level: warn
coordination:
  quota_bytes: 1GiB
  history_age: 30m
  history_revisions: 5000
  lease_checkpoint: 2500ms
auth:
  token_ttl: 1h
  jwt:
    algorithm: ES256
    public_key: keys/jwt.pub
    private_key: keys/jwt.key
etcd:
  max_txn_ops: 512
  max_request_bytes: 2MiB
gossip:
  probe_interval: 2s
  suspicion_intervals: 6
  sync_interval: 1m
`;

function load(text: string) {
  using directory = temporaryDirectory({ 'cluster.yaml': text });
  const path = join(directory.path, 'cluster.yaml');
  try {
    return { config: loadClusterFile(path), problems: [], directory: directory.path };
  } catch (error) {
    if (!(error instanceof ClusterFileError)) throw error;
    return { problems: error.problems.map((problem) => problem.replace(`${directory.path}/`, '')) };
  }
}

/** The problems of the valid file after one replacement. */
function problemsWith(from: string, to: string): readonly string[] {
  expect(VALID).toContain(from);
  return load(VALID.replace(from, to)).problems;
}

describe('a valid file', () => {
  it('is read with every field', () => {
    const { config, directory } = load(VALID);
    expect(config).toEqual({
      path: join(directory!, 'cluster.yaml'),
      cluster: 'test',
      nodes: [
        {
          name: 'n1',
          grpc: { host: '127.0.0.1', port: 7401, text: '127.0.0.1:7401' },
          http: { host: '127.0.0.1', port: 7501, text: '127.0.0.1:7501' },
          data: join(directory!, 'disk/n1'),
          zone: '',
          datacentre: '',
        },
        {
          name: 'n2',
          grpc: { host: '::1', port: 7402, text: '[::1]:7402' },
          http: { host: 'node-2.example.org', port: 7502, text: 'node-2.example.org:7502' },
          data: join(directory!, '.holdfast/n2'),
          zone: 'eu-1a',
          datacentre: 'eu-1',
        },
      ],
      storage: { segmentBytes: 1_048_576, minFreeBytes: 0 },
      limits: {
        queueBytes: 33_554_432,
        inFlightBytes: 67_108_864,
        connectionInFlightBytes: 33_554_432,
        connections: 10,
        streamsPerConnection: 20,
        headerBytes: 8_192,
      },
      log: { level: 'warn' },
      coordination: {
        quotaBytes: 1_073_741_824,
        history: { ageMs: 1_800_000, revisions: 5_000 },
        leaseCheckpointMs: 2_500,
      },
      auth: {
        tokenTtlMs: 3_600_000,
        jwt: {
          algorithm: 'ES256',
          publicKey: join(directory!, 'keys/jwt.pub'),
          privateKey: join(directory!, 'keys/jwt.key'),
        },
      },
      etcd: { maxTxnOps: 512, maxRequestBytes: 2_097_152 },
      gossip: { probeIntervalMs: 2_000, suspicionIntervals: 6, syncIntervalMs: 60_000 },
    });
  });

  it('has defaults and cannot be changed', () => {
    const { config } = load(VALID.slice(0, VALID.indexOf('storage:')));
    expect(config!.storage).toEqual({ segmentBytes: 67_108_864, minFreeBytes: 671_088_640 });
    expect(config!.limits.queueBytes).toBe(67_108_864);
    expect(config!.log.level).toBe('info');
    expect(config!.coordination).toEqual({
      quotaBytes: 268_435_456,
      history: { ageMs: 3_600_000, revisions: 100_000 },
      leaseCheckpointMs: 10_000,
    });
    expect(config!.auth).toEqual({ tokenTtlMs: 300_000, jwt: undefined });
    expect(config!.etcd).toEqual({ maxTxnOps: 128, maxRequestBytes: 1_572_864 });
    expect(config!.gossip).toEqual({
      probeIntervalMs: 1_000,
      suspicionIntervals: 4,
      syncIntervalMs: 30_000,
    });
    expect(() => Object.assign(config!.nodes[0]!.grpc, { port: 1 })).toThrow(TypeError);
  });

  it('keeps two segments and 512 MiB free by default', () => {
    const { config } = load(
      VALID.replace('segment_bytes: 1MiB\n  min_free_bytes: 0', 'segment_bytes: 128MiB'),
    );
    expect(config!.storage.minFreeBytes).toBe(768 * 1_048_576);
  });

  it('is the one that ships, with its comments telling the truth', () => {
    const config = loadClusterFile(new URL('../../cluster.yaml', import.meta.url).pathname);
    const defaults = load('cluster: a\nnodes: [{name: n1, grpc: "h:1", http: "h:2"}]').config!;
    expect(config.nodes.map(({ name }) => name)).toEqual(['n1', 'n2', 'n3']);
    expect([config.storage, config.limits, config.etcd, config.gossip, config.log]).toEqual([
      defaults.storage,
      defaults.limits,
      defaults.etcd,
      defaults.gossip,
      defaults.log,
    ]);
  });
});

describe('a node that the file need not name', () => {
  const at = (text: string) => ({ host: '127.0.0.1', port: Number(text), text: `127.0.0.1:${text}` });

  it('has the settings of the file, or its place in it, with what was said of it', () => {
    using directory = temporaryDirectory({ 'cluster.yaml': VALID });
    const path = join(directory.path, 'cluster.yaml');
    const unlisted = loadClusterFile(path, { name: 'n3', grpc: at('1'), http: at('2'), zone: 'eu-1b' });
    expect(unlisted.nodes.map(({ name }) => name)).toEqual(['n1', 'n2', 'n3']);
    expect(unlisted.nodes[2]).toMatchObject({ zone: 'eu-1b', data: join(directory.path, '.holdfast/n3') });
    const listed = loadClusterFile(path, { name: 'n1', grpc: at('1'), http: at('2') });
    expect(listed.nodes.map(({ name }) => name)).toEqual(['n2', 'n1']);
    expect(listed.nodes[1]).toMatchObject({ grpc: at('1'), data: join(directory.path, 'disk/n1') });
    expect(listed.limits.connections).toBe(10);
  });

  it('has the defaults where there is no file', () => {
    const config = configWithoutFile('/srv/cluster.yaml', 'test', {
      name: 'n4',
      grpc: at('1'),
      http: at('2'),
    });
    expect(config.cluster).toBe('test');
    expect(config.nodes).toMatchObject([{ name: 'n4', grpc: at('1'), data: '/srv/.holdfast/n4', zone: '' }]);
    expect(config.limits.connections).toBe(10_000);
  });
});

describe('each field wrong in turn', () => {
  const size = 'as a number of bytes or with a unit (KiB, MiB, GiB, TiB) such as 64MiB';
  it.each([
    ['cluster: test', 'cluster: Test', '1: cluster is "Test": must be [a-z0-9-]{1,64}, such as holdfast-dev'],
    ['cluster: test', '', '2: cluster is missing: must be [a-z0-9-]{1,64}, such as holdfast-dev'],
    ['name: n1', 'name: -n1', '3: nodes[0].name is "-n1": must be [a-z0-9][a-z0-9-]{0,62}, such as n1'],
    ['name: n1', 'name: 7', '3: nodes[0].name is 7: must be [a-z0-9][a-z0-9-]{0,62}, such as n1'],
    ['name: n2', 'name: n1', '7: nodes[1].name is "n1": must differ from nodes[0].name'],
    ['127.0.0.1:7401', '127.0.0.1:99999', '4: nodes[0].grpc is "127.0.0.1:99999": port must be 1 to 65535'],
    ['127.0.0.1:7401', '127.0.0.1:0', '4: nodes[0].grpc is "127.0.0.1:0": port must be 1 to 65535'],
    [
      '127.0.0.1:7401',
      '7401',
      '4: nodes[0].grpc is 7401: must be host:port, such as 127.0.0.1:7401 or "[::1]:7401"',
    ],
    [
      '127.0.0.1:7501',
      '127.0.0.256:7501',
      '5: nodes[0].http is "127.0.0.256:7501": host must be an IPv4 address, an IPv6 address in brackets or a host name',
    ],
    [
      '[::1]:7402',
      '[::12345]:7402',
      '8: nodes[1].grpc is "[::12345]:7402": host must be an IPv4 address, an IPv6 address in brackets or a host name',
    ],
    [
      '127.0.0.1:7501',
      'localhost:7401',
      '5: nodes[0].http is "localhost:7401": must not use the port of nodes[0].grpc (127.0.0.1:7401)',
    ],
    [
      'node-2.example.org:7502',
      '0.0.0.0:7501',
      '9: nodes[1].http is "0.0.0.0:7501": must not use the port of nodes[0].http (127.0.0.1:7501)',
    ],
    ['data: disk/n1', 'data: []', '6: nodes[0].data is []: must be the path of a directory'],
    [
      'data: disk/n1',
      'dat: disk/n1',
      '6: nodes[0].dat is not a known setting. Did you mean data? Known are name, grpc, http, data, zone, datacentre',
    ],
    [
      'segment_bytes: 1MiB',
      'segment_bytes: 64MB',
      `13: storage.segment_bytes is "64MB": must be 1 MiB to 1 GiB, ${size}`,
    ],
    [
      'segment_bytes: 1MiB',
      'segment_bytes: 1023KiB',
      `13: storage.segment_bytes is "1023KiB": must be 1 MiB to 1 GiB, ${size}`,
    ],
    [
      'min_free_bytes: 0',
      'min_free_bytes: -1',
      `14: storage.min_free_bytes is -1: must be 0 B to 1 TiB, ${size}`,
    ],
    ['queue_bytes: 32MiB', 'queue_bytes: 1', `16: limits.queue_bytes is 1: must be 1 MiB to 64 GiB, ${size}`],
    [
      'in_flight_bytes: 64MiB',
      'in_flight_bytes: ',
      `17: limits.in_flight_bytes is null: must be 1 MiB to 64 GiB, ${size}`,
    ],
    [
      'connections: 10',
      'connections: 1.5',
      '18: limits.connections is 1.5: must be a whole number from 1 to 1000000',
    ],
    [
      'streams_per_connection: 20',
      'streams_per_connection: 0',
      '19: limits.streams_per_connection is 0: must be a whole number from 1 to 100000',
    ],
    [
      'header_bytes: 8KiB',
      'header_bytes: 2MiB',
      `20: limits.header_bytes is "2MiB": must be 4 KiB to 1 MiB, ${size}`,
    ],
    [
      'quota_bytes: 1GiB',
      'quota_bytes: 1KiB',
      `25: coordination.quota_bytes is "1KiB": must be 1 MiB to 64 GiB, ${size}`,
    ],
    [
      'history_age: 30m',
      'history_age: 60',
      '26: coordination.history_age is 60: must be 0 to 3650d, as a number with a unit (ms, s, m, h, d) such as 10s',
    ],
    [
      'lease_checkpoint: 2500ms',
      'lease_checkpoint: 1ms',
      '28: coordination.lease_checkpoint is "1ms": must be 1s to 10m, as a number with a unit (ms, s, m, h, d) such as 10s',
    ],
    [
      'token_ttl: 1h',
      'token_ttl: 1s',
      '30: auth.token_ttl is "1s": must be 10s to 30d, as a number with a unit (ms, s, m, h, d) such as 10s',
    ],
    [
      'algorithm: ES256',
      'algorithm: none',
      `32: auth.jwt.algorithm is "none": must be one of ${JWT_ALGORITHMS.join(', ')}`,
    ],
    [
      '    public_key: keys/jwt.pub\n    private_key: keys/jwt.key\n',
      '',
      '31: auth.jwt is {"algorithm":"ES256"}: must name public_key, private_key or both',
    ],
    [
      'public_key',
      'publik_key',
      '33: auth.jwt.publik_key is not a known setting. Did you mean public_key? Known are algorithm, public_key, private_key',
    ],
    [
      'zone: eu-1a',
      'zone: a zone',
      '10: nodes[1].zone is "a zone": must be [A-Za-z0-9._-]{1,64}, such as eu-1a',
    ],
    [
      'probe_interval: 2s',
      'probe_interval: 100ms',
      '39: gossip.probe_interval is "100ms": must be 500ms to 1m, as a number with a unit (ms, s, m, h, d) such as 10s',
    ],
    [
      'suspicion_intervals: 6',
      'suspicion_intervals: 0',
      '40: gossip.suspicion_intervals is 0: must be a whole number from 1 to 100',
    ],
    [
      'sync_interval',
      'sink_interval',
      '41: gossip.sink_interval is not a known setting. Did you mean sync_interval? Known are probe_interval, suspicion_intervals, sync_interval',
    ],
    ['level: warn', 'level: trace', '23: log.level is "trace": must be one of debug, info, warn, error'],
    [
      'log:',
      'lgo:',
      '22: lgo is not a known setting. Did you mean log? Known are cluster, nodes, tls, storage, limits, coordination, gossip, auth, etcd, log',
    ],
    [
      'log:\n  level: warn',
      'log: warn',
      '22: log is "warn": must hold settings; leave it out for the defaults',
    ],
  ])('%s → %s', (from, to, problem) => {
    expect(problemsWith(from, to)).toEqual([`cluster.yaml:${problem}`]);
  });
});

describe('tls', () => {
  const TLS = 'tls:\n  cert: certs/{name}.crt\n  key: certs/{name}.key\n';

  it('has paths beside the file and a certificate for each node', () => {
    const { config, directory } = load(`${VALID}${TLS}  ca: /etc/ca.crt\n  client_auth: require\n`);
    expect(config!.nodes.map(({ tls }) => tls)).toEqual(
      ['n1', 'n2'].map((name) => ({
        cert: join(directory!, `certs/${name}.crt`),
        key: join(directory!, `certs/${name}.key`),
        ca: '/etc/ca.crt',
        clientAuth: 'require',
        httpClientAuth: 'require',
      })),
    );
  });

  it('asks nobody for a certificate by default', () => {
    const { config } = load(VALID + TLS);
    expect(config!.nodes[0]!.tls).toMatchObject({
      ca: undefined,
      clientAuth: 'none',
      httpClientAuth: 'none',
    });
  });

  it.each([
    ['tls:\n  cert: a.crt\n', /tls\.key is missing: must be the path of a PEM file/],
    ['tls: yes\n', /tls is "yes": must hold cert and key/],
    [`${TLS}  client_auth: maybe\n`, /tls\.client_auth is "maybe": must be one of none, request, require/],
    [`${TLS}  client_auth: require\n`, /tls is .*: must name ca/],
    [`${TLS}  http_client_auth: request\n`, /tls is .*: must name ca/],
    [`${TLS}  certs: x\n`, /tls\.certs is not a known setting\. Did you mean cert\?/],
  ])('is refused: %s', (text, words) => {
    expect(load(VALID + text).problems).toEqual([expect.stringMatching(words)]);
  });
});

describe('a file that is wrong as a whole', () => {
  it.each([
    ['', '1: the file is empty: must have the keys cluster and nodes'],
    ['- 1', '1: the file is [1]: must have the keys cluster and nodes'],
    ['cluster: a\nnodes: []', '2: nodes is []: must name at least one node'],
    ['cluster: a\nnodes: n1', '2: nodes is "n1": must be a list of nodes'],
    ['cluster: a\nnodes:\n\t- name: n1', '3: a tab; lines are indented with spaces'],
    [
      `cluster: b\n${VALID.replace('cluster: test', '')}cluster: c\n`,
      '43: the same key stands twice; a key may be given once',
    ],
  ])('%j', (text, problem) => {
    expect(load(text).problems).toEqual([`cluster.yaml:${problem}`]);
  });

  it('with broken syntax names the line', () => {
    expect(load('cluster: a\nnodes: [1').problems[0]).toMatch(/^cluster\.yaml:2: not valid YAML: /);
  });

  it('that does not exist says so', () => {
    expect(() => loadClusterFile('/nowhere/cluster.yaml')).toThrow('there is no such file');
  });

  it('tells all problems at once, in the order of the file', () => {
    const wrong = VALID.replace('7401', '0').replace('name: n2', 'name: n1').replace('warn', 'loud');
    const lines = load(wrong).problems.map((problem) => problem.split(':')[1]);
    expect(lines).toEqual(['4', '7', '23']);
  });
});
