/**
 * Why a connection to a node does not come about, when it is for TLS. grpc-js says of every
 * such failure only that there was one, and tries again; a certificate that is wrong stays
 * wrong, so the caller is to hear of it at once, and in words. It is found out by a
 * connection made for this alone.
 */
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { hostOf, isAddress } from './endpoints.ts';

/** What is tried: the TLS of the client, undefined for none. */
export interface TlsAttempt {
  readonly ca?: string | Buffer | undefined;
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  readonly servername?: string | undefined;
}

const GIVE_UP_MS = 1_500;
/** The opening of HTTP/2, with empty SETTINGS. */
const OPENING = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);

/** What keeps client and node apart; undefined when it is not TLS, or cannot be told. */
export function tlsProblem(endpoint: string, tls: TlsAttempt | undefined): Promise<string | undefined> {
  const host = hostOf(endpoint);
  const port = Number(endpoint.slice(endpoint.lastIndexOf(':') + 1));
  return tls === undefined ? probePlain(host, port) : probeTls(host, port, tls);
}

/** Speaks plain text, and TLS to a node that cuts that off. */
async function probePlain(host: string, port: number): Promise<string | undefined> {
  const answer = await settled<'none' | 'tls' | 'cut'>('none', (done) => {
    const socket = connectPlain({ host, port }, () => socket.write(OPENING));
    socket.on('data', (bytes: Buffer) => done(speaksTls(bytes) ? 'tls' : 'none'));
    socket.on('error', (error: NodeJS.ErrnoException) => done(error.code === 'ECONNRESET' ? 'cut' : 'none'));
    socket.on('close', () => done('cut'));
    return socket;
  });
  if (answer === 'none') return undefined;
  return answer === 'tls' || (await agreesOnTls(host, port)) ? NODE_SPEAKS_TLS : undefined;
}

/** Whether there is anything that speaks TLS; whose certificate it has does not matter here. */
function agreesOnTls(host: string, port: number): Promise<boolean> {
  return settled(false, (done) => {
    const options = { host, port, rejectUnauthorized: false, ALPNProtocols: ['h2'] };
    const socket = connectTls(options, () => done(true));
    socket.on('error', () => done(false));
    return socket;
  });
}

function probeTls(host: string, port: number, tls: TlsAttempt): Promise<string | undefined> {
  return settled<string | undefined>(undefined, (done) => {
    let isSecure = false;
    const servername = tls.servername ?? (isAddress(host) ? '' : host);
    const options = { ...tls, host, port, servername, ALPNProtocols: ['h2'] };
    const socket = connectTls(options, () => {
      isSecure = true;
    });
    // A node that takes the connection opens HTTP/2 on it by itself. In TLS 1.3 one that
    // refuses a certificate does so only after the caller thinks that all is well.
    socket.on('data', () => done(undefined));
    socket.on('error', (error) => done(describedTlsError(error, host, tls)));
    socket.on('close', () => done(isSecure && tls.cert !== undefined ? REFUSED : undefined));
    return socket;
  });
}

const REFUSED =
  'the node refuses the certificate of this client: it has expired, or is from an authority that the node does not trust';
const NODE_SPEAKS_TLS =
  'the node speaks TLS and this client does not: give it `tls` (on the command line --ca FILE, or --tls)';

/** An alert or a handshake record. */
function speaksTls(bytes: Uint8Array): boolean {
  return (bytes[0] === 0x15 || bytes[0] === 0x16) && bytes[1] === 3;
}

function describedTlsError(error: NodeJS.ErrnoException, host: string, tls: TlsAttempt): string | undefined {
  const { code = '', message } = error;
  if (code.startsWith('ECONN') || code === 'ENOTFOUND' || code === 'EPIPE') return undefined;
  const known = KNOWN.find(({ form }) => form.test(code));
  if (known === undefined) return `TLS failed: ${message}`;
  if (known.says === 'altname')
    return `the certificate of the node is not for ${tls.servername ?? host}: ${message}`;
  return `${known.says} (${code})`;
}

const KNOWN: readonly { readonly form: RegExp; readonly says: string }[] = [
  { form: /^CERT_HAS_EXPIRED$/, says: 'the certificate of the node has expired' },
  {
    form: /^CERT_NOT_YET_VALID$/,
    says: 'the certificate of the node is not valid yet; are the clocks right?',
  },
  {
    form: /UNABLE_TO_|SELF_SIGNED|CERT_UNTRUSTED|CERT_SIGNATURE_FAILURE|INVALID_CA/,
    says: 'the certificate of the node is not from an authority that this client trusts: give it the right `ca`',
  },
  { form: /ALTNAME_INVALID/, says: 'altname' },
  {
    form: /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST|UNEXPECTED_MESSAGE|RECORD_LAYER/,
    says: 'this client speaks TLS and the node probably plain text: leave out `tls`, or switch it on at the node',
  },
  {
    form: /CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|ALERT_NO_CERTIFICATE/,
    says: 'the node wants a certificate of this client: give it `certificate` and `key`',
  },
  {
    form: /ALERT_.*(CERTIFICATE|UNKNOWN_CA|EXPIRED|DECRYPT)/,
    says: REFUSED,
  },
];

/** Runs a probe with a bound on its time; its socket is gone afterwards. */
function settled<T>(otherwise: T, start: (done: (found: T) => void) => Socket): Promise<T> {
  return new Promise((resolve) => {
    const end = (found: T) => {
      clearTimeout(timer);
      resolve(found);
      socket.destroy();
    };
    const timer = setTimeout(() => end(otherwise), GIVE_UP_MS);
    const socket = start(end);
  });
}
