/**
 * TLS of real nodes on both ports: who is let in, who is turned away and in which words,
 * and certificates that are exchanged while the node serves.
 */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { request as plainRequest } from 'node:http';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, HoldfastError, type TlsOptions } from '@holdfast/client';
import { runHoldfast } from '../main/run-holdfast.ts';
import { Authority, EXPIRED, type Pem } from './certificates.ts';
import { HOST, RealNode, until, within } from './real-node.ts';
import { get, handshake, install, prepareTlsNode, servedSerial, startTlsNode } from './tls-node.ts';

/** What is to happen at once, on a busy machine; less than what a silent connection has until it is cut. */
const SOON_MS = 9_000;
const RELOAD_MS = 30_000;

let authority: Authority;
let stranger: Authority;
let node: RealNode;
beforeAll(async () => {
  authority = await Authority.create();
  stranger = await Authority.create('Somebody Else');
  node = await startTlsNode({ authority });
});
afterAll(async () => {
  expect(node.output).not.toMatch(/"level":[56]0|\n\s+at /);
  expect((await node.stop()).code).toBe(0);
  await node[Symbol.asyncDispose]();
});

/** What a client says that writes through a pipeline, and one that makes a unary call. */
async function errorsOf(endpoint: string, tls: TlsOptions | undefined): Promise<HoldfastError[]> {
  const hf = await connect({ endpoints: endpoint, tls, timeout: '30s' });
  const beganMs = performance.now();
  const calls = [hf.keyspace('default').put('a', 'b'), hf.status()];
  const errors = await Promise.all(
    calls.map((call) =>
      call.then(
        () => undefined,
        (error: unknown) => error,
      ),
    ),
  );
  await hf.close();
  // It would stay so: nobody waits for the deadline to be told.
  expect(performance.now() - beganMs).toBeLessThan(SOON_MS);
  return errors as HoldfastError[];
}

async function expectRefused(endpoint: string, tls: TlsOptions | undefined, words: RegExp): Promise<void> {
  for (const error of await errorsOf(endpoint, tls)) {
    expect(error).toBeInstanceOf(HoldfastError);
    expect([error.reason, error.code]).toEqual(['TLS_FAILED', 'UNAVAILABLE']);
    expect(error.message).toMatch(words);
    expect(error.message).toContain(endpoint);
  }
}

async function expectServed(endpoint: string, tls: TlsOptions): Promise<void> {
  const hf = await connect({ endpoints: endpoint, tls });
  await hf.keyspace('default').put('a', 'b');
  expect((await hf.status()).nodes[0]!.name).toBe('n1');
  await hf.close();
}

function ownTls({ certificate, key }: Pem): TlsOptions {
  return { ca: authority.certificate, certificate, key };
}

describe('a node with a certificate', () => {
  it('serves who trusts its authority, on both ports', async () => {
    await expectServed(node.grpc, { ca: authority.certificate });
    expect(await get(node, '/readyz', { ca: authority.certificate })).toEqual({ status: 200, body: 'ok\n' });
  });

  it('is found by a name of its certificate, whatever the endpoint is', async () => {
    await using other = await startTlsNode({
      authority,
      certificate: await authority.sign({ hosts: ['node-1.example.org'] }),
    });
    await expectRefused(other.grpc, { ca: authority.certificate }, /not for 127\.0\.0\.\d/);
    await expectServed(other.grpc, { ca: authority.certificate, serverName: 'node-1.example.org' });
    const wrong = { ca: authority.certificate, serverName: 'node-2.example.org' };
    await expectRefused(other.grpc, wrong, /not for node-2\.example\.org/);
  });

  it.each([
    [
      'another authority',
      () => ({ ca: stranger.certificate }),
      /not from an authority that this client trusts/,
    ],
    ['no authority', () => ({}), /not from an authority that this client trusts/],
    ['plain text', () => undefined, /speaks TLS and this client does not/],
  ])('a client with %s says so', async (_, tls, words) => {
    await expectRefused(node.grpc, tls(), words);
  });

  it('an expired certificate: the node warns, the client says so', async () => {
    await using old = await startTlsNode({ authority, certificate: await authority.sign(EXPIRED) });
    expect(old.output).toMatch(/"level":50.*the certificate of this node expired at /);
    await expectRefused(old.grpc, { ca: authority.certificate }, /has expired/);
    await expect(get(old, '/livez', { ca: authority.certificate })).rejects.toMatchObject({
      code: 'CERT_HAS_EXPIRED',
    });
  });

  it.each(['TLSv1', 'TLSv1.1'] as const)('does not speak %s', async (version) => {
    const old: ConnectionOptions = {
      ca: authority.certificate,
      minVersion: version,
      maxVersion: version,
      ciphers: 'ALL:@SECLEVEL=0',
    };
    for (const address of [node.grpc, node.http])
      await expect(handshake(address, old)).rejects.toMatchObject({
        code: /ALERT_PROTOCOL_VERSION/ as never,
      });
  });

  it('a client whose other node is right goes there', async () => {
    await using plain = await RealNode.start();
    const hf = await connect({ endpoints: [plain.grpc, node.grpc], tls: { ca: authority.certificate } });
    await hf.keyspace('default').put('a', 'b');
    await hf.close();
  });

  it('a key that does not belong to the certificate is refused before anything is sent', async () => {
    const [one, two] = [await authority.sign(), await authority.sign()];
    const mixed = connect({ endpoints: node.grpc, tls: ownTls({ ...one, key: two.key }) });
    await expect(mixed).rejects.toMatchObject({ reason: 'INVALID_FIELD', field: 'tls' });
    const half = connect({ endpoints: node.grpc, tls: { certificate: one.certificate } });
    await expect(half).rejects.toMatchObject({ reason: 'INVALID_FIELD', field: 'tls.key' });
  });
});

describe('the wrong kind of port', () => {
  it.each(['grpc', 'http'] as const)(
    'plain text to the %s port is cut off, and harms nobody',
    async (port) => {
      const [host, number] = node[port].split(':');
      for (const bytes of ['GET /livez HTTP/1.1\r\nHost: x\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n']) {
        const socket = connectSocket(Number(number), host)
          .on('error', () => undefined)
          .resume();
        socket.write(bytes);
        await within(once(socket, 'close'), SOON_MS, () => 'the connection stays open');
      }
      await expectServed(node.grpc, { ca: authority.certificate });
    },
  );

  it('TLS to a plain gRPC port: the client says what it probably is', async () => {
    await using plain = await RealNode.start();
    await expectRefused(
      plain.grpc,
      { ca: authority.certificate },
      /speaks TLS and the node probably plain text/,
    );
  });

  it.each(['grpc', 'http'] as const)('TLS to the plain %s port ends soon, and harms nobody', async (port) => {
    await using plain = await RealNode.start();
    const hello = handshake(plain[port], { ca: authority.certificate });
    await expect(within(hello, SOON_MS, () => 'it hangs')).rejects.toMatchObject({
      code: expect.stringMatching(/ERR_SSL|ECONNRESET/),
    });
    expect((await fetch(`${plain.url}/readyz`)).status).toBe(200);
  });

  it('a plain request to the HTTPS port does not hang', async () => {
    const call = plainRequest(`http://${node.http}/livez`);
    call.end();
    const failed = new Promise((resolve) => call.on('error', resolve).on('response', resolve));
    await within(failed, SOON_MS, () => 'it hangs');
  });

  it('a handshake that does not come is cut after 10 s on both ports', async () => {
    // The first bytes of a hello, so that it has begun.
    const lives = [node.grpc, node.http].map(async (address) => {
      const [host, number] = address.split(':');
      const socket = connectSocket(Number(number), host)
        .on('error', () => undefined)
        .resume();
      socket.write(Buffer.from('16030100c8010000c40303', 'hex'));
      const beganMs = performance.now();
      await within(once(socket, 'close'), 30_000, () => 'the connection stays open');
      return performance.now() - beganMs;
    });
    for (const ms of await Promise.all(lives)) expect(ms).toBeGreaterThan(9_000);
  }, 60_000);
});

describe('callers with certificates', () => {
  let strict: RealNode;
  let mixed: RealNode;
  beforeAll(async () => {
    strict = await startTlsNode({ authority, clientAuth: 'require' });
    mixed = await startTlsNode({ authority, clientAuth: 'request', httpClientAuth: 'none' });
  });
  afterAll(async () => {
    await strict[Symbol.asyncDispose]();
    await mixed[Symbol.asyncDispose]();
  });

  it('are let in where they are required', async () => {
    const own = ownTls(await authority.sign({ name: 'caller' }));
    await expectServed(strict.grpc, own);
    const https = { ca: authority.certificate, cert: own.certificate as string, key: own.key as string };
    expect((await get(strict, '/livez', https)).status).toBe(200);
  });

  it('callers without one are turned away on both ports, and told', async () => {
    await expectRefused(strict.grpc, { ca: authority.certificate }, /wants a certificate of this client/);
    await expect(get(strict, '/livez', { ca: authority.certificate })).rejects.toThrow();
  });

  it.each([
    ['another authority', () => stranger.sign()],
    ['the past', () => authority.sign(EXPIRED)],
  ])('callers with one of %s are turned away on both ports, and told', async (_, make) => {
    const pem = await make();
    await expectRefused(strict.grpc, ownTls(pem), /refuses the certificate of this client/);
    await expectRefused(mixed.grpc, ownTls(pem), /refuses the certificate of this client/);
    const https = { ca: authority.certificate, cert: pem.certificate, key: pem.key };
    await expect(get(strict, '/livez', https)).rejects.toThrow();
  });

  it('where they are only asked for, none is as good as a right one', async () => {
    await expectServed(mixed.grpc, { ca: authority.certificate });
    await expectServed(mixed.grpc, ownTls(await authority.sign()));
    expect((await get(mixed, '/livez', { ca: authority.certificate })).status).toBe(200);
  });
});

describe('certificates that change while the node serves', () => {
  it('new connections get the new one, streams that are open go on', async () => {
    await using one = await startTlsNode({ authority });
    const hf = await connect({ endpoints: one.grpc, tls: { ca: authority.certificate } });
    const kv = hf.keyspace('default');
    await kv.put('before', 'x');
    const replacement = await authority.sign({ notAfter: new Date(Date.now() + 7_200_000) });
    install(one.directory, replacement);
    for (const address of [one.grpc, one.http])
      await until(
        async () => (await servedSerial(address, authority.certificate)) === replacement.serialNumber,
        RELOAD_MS,
        () => 'the old one is served',
      );
    await kv.put('after', 'y');
    expect((await kv.get('before'))?.text()).toBe('x');
    // Neither the stream nor its connection was made anew.
    const { body } = await get(one, '/metrics', { ca: authority.certificate });
    expect(body).toMatch(/holdfast_connections\{port="grpc"\} 1\n/);
    expect(body).not.toMatch(/method="holdfast.kv.v1.KvService\/Pipeline"/); // counted when it ends
    expect(body).toContain('holdfast_tls_reloads_total{result="taken"} 1');
    const [, notAfter] = /holdfast_tls_certificate_not_after_seconds (\d+)/.exec(body)!;
    expect(Math.abs(Number(notAfter) - Date.now() / 1_000 - 7_200)).toBeLessThan(60);
    expect(one.output).toContain('new connections get a new certificate');
    await hf.close();
  });

  it.each([
    ['half written', (pem: Pem) => ({ ...pem, certificate: pem.certificate.slice(0, 200) }), /n1\.crt .*PEM/],
    [
      'with the key of another',
      async (pem: Pem) => ({ ...pem, key: (await authority.sign()).key }),
      /does not belong/,
    ],
    ['expired', () => authority.sign(EXPIRED), /expired at/],
  ])('a replacement that is %s leaves the old one, until it is right', async (_, spoil, words) => {
    const first = await authority.sign();
    await using one = await startTlsNode({ authority, certificate: first });
    const second = await authority.sign();
    install(one.directory, await spoil(second));
    await until(
      () => one.output.includes('the old ones stay'),
      RELOAD_MS,
      () => one.output,
    );
    expect(one.output).toMatch(words);
    for (const address of [one.grpc, one.http])
      expect(await servedSerial(address, authority.certificate)).toBe(first.serialNumber);
    install(one.directory, second);
    await until(
      async () => (await servedSerial(one.grpc, authority.certificate)) === second.serialNumber,
      RELOAD_MS,
      () => 'the old one is served',
    );
    expect(one.output.match(/the old ones stay/g)).toHaveLength(1);
  });

  it('an authority that is taken away no longer lets its callers in, resumed sessions neither', async () => {
    await using one = await startTlsNode({ authority, clientAuth: 'require' });
    const caller = await authority.sign();
    const own = { ca: authority.certificate, cert: caller.certificate, key: caller.key };
    const first = await handshake(one.http, own);
    const [session] = (await within(once(first, 'session'), SOON_MS, () => 'no ticket')) as [Buffer];
    const control = await handshake(one.http, { ...own, session });
    expect(control.isSessionReused()).toBe(true);
    control.destroy();
    writeFileSync(join(one.directory, 'ca.crt'), stranger.certificate);
    await until(
      () => one.output.includes('new certificate'),
      RELOAD_MS,
      () => one.output,
    );
    const again = await handshake(one.http, { ...own, session }).catch(() => undefined);
    if (again !== undefined) await within(once(again.resume(), 'close'), SOON_MS, () => 'it is let in');
    await expectRefused(one.grpc, ownTls(caller), /refuses the certificate of this client/);
    await expectServed(one.grpc, ownTls(await stranger.sign()));
    first.destroy();
  });
});

describe('a node whose files are not right does not start, and says why', () => {
  const spoilt: [string, (directory: string) => void, RegExp][] = [
    [
      'no certificate',
      (d) => writeFileSync(join(d, 'n1.crt'), ''),
      /n1\.crt \(tls\.cert\): it holds no certificate/,
    ],
    ['no key', (d) => writeFileSync(join(d, 'n1.key'), 'x'), /n1\.key \(tls\.key\): it holds no private key/],
    [
      'no authority',
      (d) => writeFileSync(join(d, 'ca.crt'), 'x'),
      /ca\.crt \(tls\.ca\) holds no certificate/,
    ],
    [
      'a file that is not there',
      (d) => {
        const file = join(d, 'cluster.yaml');
        writeFileSync(file, readFileSync(file, 'utf8').replace('{name}.key', 'gone/{name}.key'));
      },
      /gone\/n1\.key \(tls\.key\): there is no such file/,
    ],
  ];
  it.each(spoilt)('%s', async (_, spoil, words) => {
    await using wrong = await prepareTlsNode({ authority });
    spoil(wrong.directory);
    const { code } = await within(wrong.spawn(), 30_000, () => wrong.output);
    expect([code, wrong.output.trim().split('\n')]).toEqual([1, [expect.stringMatching(words)]]);
    const { code: checked, stderr } = await runHoldfast(['check', join(wrong.directory, 'cluster.yaml')]);
    expect([checked, stderr]).toEqual(
      words.source.includes('no such file') ? [0, ''] : [2, expect.stringMatching(words)],
    );
  });

  it('a key of another certificate', async () => {
    const [one, two] = [await authority.sign(), await authority.sign()];
    await using wrong = await prepareTlsNode({ authority, certificate: { ...one, key: two.key } });
    const { code } = await within(wrong.spawn(), 30_000, () => wrong.output);
    expect([code, wrong.output]).toEqual([
      1,
      expect.stringMatching(/n1\.key .* does not belong to .*n1\.crt/),
    ]);
  });
});

describe('the command line', () => {
  it('finds TLS in the cluster file', async () => {
    const config = ['--config', join(node.directory, 'cluster.yaml')];
    expect((await runHoldfast(['kv', 'put', 'cli', 'x', ...config])).code).toBe(0);
    expect((await runHoldfast(['kv', 'get', 'cli', ...config])).stdout.toString()).toBe('x');
    const status = await runHoldfast(['cluster', 'status', ...config]);
    expect(status.stdout.toString()).toMatch(/n1 +running/);
    const checked = await runHoldfast(['check', ...config]);
    expect(checked.stdout.toString()).toMatch(/is right: .*\n.*n1.*valid until/s);
  });

  it('takes files by options and environment', async () => {
    await using strict = await startTlsNode({ authority, clientAuth: 'require' });
    const caller = await authority.sign();
    const path = (name: string) => join(strict.directory, name);
    writeFileSync(path('me.crt'), caller.certificate);
    writeFileSync(path('me.key'), caller.key);
    const to = ['--endpoints', strict.grpc];
    const get = ['kv', 'get', 'nothing', ...to];
    const files = ['--ca', path('ca.crt'), '--cert', path('me.crt'), '--key', path('me.key')];
    expect((await runHoldfast([...get, ...files])).stderr).toContain('KEY_NOT_FOUND');
    const env = { HOLDFAST_CA: path('ca.crt'), HOLDFAST_CERT: path('me.crt'), HOLDFAST_KEY: path('me.key') };
    expect((await runHoldfast(get, { env })).stderr).toContain('KEY_NOT_FOUND');
    const without = await runHoldfast([...get, '--ca', path('ca.crt')]);
    expect([without.code, without.stderr]).toEqual([
      3,
      expect.stringContaining('wants a certificate of this client'),
    ]);
    const plain = await runHoldfast(get);
    expect([plain.code, plain.stderr]).toEqual([3, expect.stringContaining('--ca FILE')]);
    const half = await runHoldfast([...get, '--cert', path('me.crt')]);
    expect([half.code, half.stderr]).toEqual([2, expect.stringContaining('--cert and --key')]);
    const gone = await runHoldfast([...get, '--ca', path('gone.crt')]);
    expect([gone.code, gone.stderr]).toEqual([2, expect.stringContaining('there is no such file')]);
  });
});

it('a node that listens beyond this machine without TLS says so, one with TLS does not', async () => {
  const everywhere = (directory: string) => {
    const file = join(directory, 'cluster.yaml');
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll(`: ${HOST}:`, ': 0.0.0.0:'));
  };
  await using open = await RealNode.start({ furnish: everywhere });
  expect(open.output).toMatch(/"level":40.*WITHOUT TLS BEYOND THIS MACHINE/);
  await using closed = await prepareTlsNode({ authority });
  everywhere(closed.directory);
  await closed.start();
  expect(closed.output).not.toContain('WITHOUT TLS');
  await using local = await RealNode.start();
  expect(local.output).not.toContain('WITHOUT TLS');
});
