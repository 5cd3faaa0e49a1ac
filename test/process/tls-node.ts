/** A real node with TLS, and how to call it. */
import { renameSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { once } from 'node:events';
import { Authority, type Pem } from './certificates.ts';
import { RealNode, within, type RealNodeOptions } from './real-node.ts';

const HANDSHAKE_MS = 20_000;

export interface TlsNodeOptions extends RealNodeOptions {
  readonly authority: Authority;
  /** Default: one that the authority signs. */
  readonly certificate?: Pem;
  readonly clientAuth?: string;
  readonly httpClientAuth?: string;
  /** Default: the same authority. */
  readonly clientAuthority?: Authority;
}

/** Starts a node whose certificate is `n1.crt` and `n1.key` in its directory. */
export async function startTlsNode(options: TlsNodeOptions): Promise<RealNode> {
  const node = await prepareTlsNode(options);
  try {
    await node.start();
  } catch (error) {
    await node[Symbol.asyncDispose]();
    throw error;
  }
  return node;
}

/** The same, not started. */
export async function prepareTlsNode(options: TlsNodeOptions): Promise<RealNode> {
  const { authority, clientAuth = 'none', httpClientAuth = clientAuth } = options;
  const certificate = options.certificate ?? (await authority.sign());
  const tls = ['cert: "{name}.crt"', 'key: "{name}.key"', 'ca: ca.crt', `client_auth: ${clientAuth}`];
  return RealNode.prepare({
    ...options,
    tls: [...tls, `http_client_auth: ${httpClientAuth}`],
    furnish: (directory) => {
      writeFileSync(join(directory, 'ca.crt'), (options.clientAuthority ?? authority).certificate);
      install(directory, certificate);
    },
  });
}

/** Puts a certificate in place as a careful program does: each file at once, one after the other. */
export function install(directory: string, { certificate, key }: Pem): void {
  for (const [name, content] of [
    ['n1.crt', certificate],
    ['n1.key', key],
  ] as const) {
    writeFileSync(join(directory, `${name}.new`), content);
    renameSync(join(directory, `${name}.new`), join(directory, name));
  }
}

/** A GET over HTTPS. */
export async function get(
  node: RealNode,
  path: string,
  tls: ConnectionOptions,
): Promise<{ status: number; body: string }> {
  const call = request(`${node.url}${path}`, { ...tls, agent: new Agent({ keepAlive: false }) });
  call.end();
  const [response] = (await once(call, 'response')) as [import('node:http').IncomingMessage];
  return { status: response.statusCode!, body: await text(response) };
}

/** The serial number of the certificate that new connections of a port get. */
export async function servedSerial(address: string, ca: string): Promise<string> {
  const socket = await handshake(address, { ca });
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber.toLowerCase();
}

/** A TLS connection that stands. */
export async function handshake(address: string, options: ConnectionOptions): Promise<TLSSocket> {
  const [host, port] = address.split(':');
  const socket = connectTls({
    ALPNProtocols: ['h2', 'http/1.1'],
    ...options,
    host: host!,
    port: Number(port),
  });
  await within(once(socket, 'secureConnect'), HANDSHAKE_MS, () => 'no handshake');
  return socket;
}
