/**
 * Certificates as an operator would have them made: an authority and what it signs, as PEM.
 * Made anew by each test, so that what is expired has expired and nothing in the repository
 * ever does.
 */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { HOST } from './real-node.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const HOUR_MS = 3_600_000;
const { DigitalSignature, KeyCertSign } = {
  DigitalSignature: x509.KeyUsageFlags.digitalSignature,
  KeyCertSign: x509.KeyUsageFlags.keyCertSign,
};

export interface Pem {
  readonly certificate: string;
  readonly key: string;
  readonly serialNumber: string;
}

export interface CertificateOptions {
  readonly name?: string;
  /** Default: an hour ago. */
  readonly notBefore?: Date;
  /** Default: in an hour. */
  readonly notAfter?: Date;
  /** Names that it is for; default: those of this machine. */
  readonly hosts?: readonly string[];
}

/** Valid until yesterday. */
export const EXPIRED: CertificateOptions = {
  notBefore: new Date(Date.now() - 48 * HOUR_MS),
  notAfter: new Date(Date.now() - 24 * HOUR_MS),
};

export class Authority {
  readonly certificate: string;
  readonly #keys: webcrypto.CryptoKeyPair;
  readonly #name: string;

  private constructor(name: string, keys: webcrypto.CryptoKeyPair, certificate: string) {
    this.#name = name;
    this.#keys = keys;
    this.certificate = certificate;
  }

  static async create(name = 'Test Authority'): Promise<Authority> {
    x509.cryptoProvider.set(webcrypto as never);
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: serialNumber(),
      name: `CN=${name}`,
      notBefore: new Date(Date.now() - 72 * HOUR_MS),
      notAfter: new Date(Date.now() + HOUR_MS),
      signingAlgorithm: ALGORITHM,
      keys: keys as never,
      extensions: [
        new x509.BasicConstraintsExtension(true, 1, true),
        new x509.KeyUsagesExtension(KeyCertSign, true),
      ],
    });
    return new Authority(name, keys, certificate.toString('pem'));
  }

  /** Signs a certificate for a node or a caller. */
  async sign(options: CertificateOptions = {}): Promise<Pem> {
    const { name = 'n1', notBefore, notAfter, hosts = ['127.0.0.1', HOST, 'localhost'] } = options;
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serialNumber(),
      subject: `CN=${name}`,
      issuer: `CN=${this.#name}`,
      notBefore: notBefore ?? new Date(Date.now() - HOUR_MS),
      notAfter: notAfter ?? new Date(Date.now() + HOUR_MS),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey as never,
      signingKey: this.#keys.privateKey as never,
      extensions: [
        new x509.KeyUsagesExtension(DigitalSignature, true),
        new x509.SubjectAlternativeNameExtension(
          hosts.map((host) => ({
            type: /^[\d.]+$/.test(host) ? ('ip' as const) : ('dns' as const),
            value: host,
          })),
        ),
      ],
    });
    const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
    return {
      certificate: certificate.toString('pem'),
      key: x509.PemConverter.encode(pkcs8, 'PRIVATE KEY'),
      serialNumber: certificate.serialNumber,
    };
  }
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, [
    'sign',
    'verify',
  ]) as Promise<webcrypto.CryptoKeyPair>;
}

/** 64 random bits, positive. */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(8));
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}
