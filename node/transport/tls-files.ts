/** What a node's TLS files hold, checked before anything is served with it. */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';

/** Whether callers are asked for a certificate. */
export type ClientAuth = 'none' | 'request' | 'require';

/** Where the TLS files of a node are; absolute paths. */
export interface TlsSettings {
  /** Certificate of the node and those between it and its authority, PEM. */
  readonly cert: string;
  /** Private key of the certificate, PEM. */
  readonly key: string;
  /** Authorities, PEM; undefined: those of Node.js. */
  readonly ca: string | undefined;
  readonly clientAuth: ClientAuth;
  /** The same for the HTTP port. */
  readonly httpClientAuth: ClientAuth;
}

/** The content of the files. */
export interface TlsMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer | undefined;
}

/** What is known of the certificate of a node. */
export interface CertificateFacts {
  readonly subject: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly serialNumber: string;
}

/** TLS files that cannot be served with; the message names the file and what to do. */
export class TlsFilesError extends Error {
  override readonly name = 'TlsFilesError';
}

/** Reads the files; TlsFilesError when one cannot be read. */
export async function readTlsFiles({
  cert,
  key,
  ca,
}: Pick<TlsSettings, 'cert' | 'key' | 'ca'>): Promise<TlsMaterial> {
  const [certBytes, keyBytes, caBytes] = await Promise.all([
    readOne(cert, 'tls.cert'),
    readOne(key, 'tls.key'),
    ca === undefined ? undefined : readOne(ca, 'tls.ca'),
  ]);
  return { cert: certBytes, key: keyBytes, ca: caBytes };
}

/** Checks that the files belong together; TlsFilesError otherwise. Says nothing of their dates. */
export function checkTlsFiles(material: TlsMaterial, settings: TlsSettings): CertificateFacts {
  const certificate = parsed(settings.cert, 'tls.cert', () => new X509Certificate(material.cert));
  const key = parsed(settings.key, 'tls.key', () => createPrivateKey(material.key));
  if (!certificate.checkPrivateKey(key as KeyObject))
    throw new TlsFilesError(
      `the key in ${settings.key} (tls.key) does not belong to the certificate in ${settings.cert} (tls.cert)`,
    );
  if (material.ca !== undefined) checkAuthorities(material.ca, settings.ca!);
  // What is left: a chain that OpenSSL cannot take, or a key that it holds for too weak.
  parsed(settings.cert, 'tls.cert', () => createSecureContext({ cert: material.cert, key: material.key }));
  return {
    subject: certificate.subject.replaceAll('\n', ', '),
    notBeforeMs: Date.parse(certificate.validFrom),
    notAfterMs: Date.parse(certificate.validTo),
    serialNumber: certificate.serialNumber,
  };
}

/** What is wrong with the dates of a certificate; undefined when it is valid now. */
export function datesProblem(
  { notBeforeMs, notAfterMs }: CertificateFacts,
  nowMs: number,
): string | undefined {
  if (nowMs > notAfterMs) return `expired at ${new Date(notAfterMs).toISOString()}`;
  if (nowMs < notBeforeMs) return `is valid only from ${new Date(notBeforeMs).toISOString()}`;
  return undefined;
}

/** OpenSSL passes over what is no certificate in a file of authorities, and would trust fewer in silence. */
function checkAuthorities(bytes: Buffer, path: string): void {
  const found = bytes.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (found === null) throw new TlsFilesError(`${path} (tls.ca) holds no certificate in PEM`);
  for (const one of found) parsed(path, 'tls.ca', () => new X509Certificate(one));
}

async function readOne(path: string, setting: string): Promise<Buffer> {
  try {
    // Whatever is not a file may never end, or never begin to answer.
    if (!(await stat(path)).isFile()) throw Object.assign(new Error('not a file'), { code: 'not a file' });
    return await readFile(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code ?? message})`;
    throw new TlsFilesError(`${path} (${setting}): ${why}`, { cause: error });
  }
}

function parsed<T>(path: string, setting: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const isLocked = code === 'ERR_MISSING_PASSPHRASE' || /passphrase|bad decrypt/i.test(message);
    const what = setting === 'tls.key' ? 'private key' : 'certificate';
    const why = isLocked
      ? 'the key is encrypted; a node cannot ask for a passphrase'
      : `it holds no ${what} in PEM that can be used (${message})`;
    throw new TlsFilesError(`${path} (${setting}): ${why}`, { cause: error });
  }
}
