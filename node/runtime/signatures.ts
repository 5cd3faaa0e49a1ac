/** Signatures of tokens: with a secret of the cluster, and with the keys of JSON Web Tokens. */
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  sign,
  timingSafeEqual,
  verify,
  type KeyObject,
} from 'node:crypto';
import { constants } from 'node:crypto';

/** Bytes of `hmac`. */
export const HMAC_BYTES = 32;

/** HMAC with SHA-256. */
export function hmac(secret: Uint8Array, content: Uint8Array): Uint8Array {
  return createHmac('sha256', secret).update(content).digest();
}

/** Compares without telling by its time how much is the same. */
export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b);
}

/** How JSON Web Tokens may be signed: RFC 7518 and RFC 8037. */
export const JWT_ALGORITHMS = [
  'HS256',
  'HS384',
  'HS512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const;
export type JwtAlgorithm = (typeof JWT_ALGORITHMS)[number];

/** Least lengths of secrets: that of the hash. RFC 7518, 3.2. */
const CURVES: Readonly<Record<string, string>> = {
  ES256: 'prime256v1',
  ES384: 'secp384r1',
  ES512: 'secp521r1',
};
const LEAST_RSA_BITS = 2_048;

/** What the keys are: PEM, or of HS256 to HS512 the secret itself, as `privateKey`. */
export interface JwtKeyFiles {
  readonly algorithm: JwtAlgorithm;
  readonly publicKey: Uint8Array | undefined;
  /** Without it tokens are verified, and none made. */
  readonly privateKey: Uint8Array | undefined;
}

/** Signs and verifies by one algorithm, whatever a token says of itself. */
export class JwtKeys {
  readonly algorithm: JwtAlgorithm;
  readonly #private: KeyObject | undefined;
  readonly #public: KeyObject;

  /** Error: Error, which says what is wrong with the keys. */
  constructor({ algorithm, publicKey, privateKey }: JwtKeyFiles) {
    this.algorithm = algorithm;
    if (algorithm.startsWith('HS')) {
      this.#public = this.#private = secretKey(algorithm, privateKey);
      return;
    }
    this.#private = privateKey && createPrivateKey(Buffer.from(privateKey));
    const source = publicKey === undefined ? this.#private : Buffer.from(publicKey);
    if (source === undefined) throw new Error(`${algorithm} needs a public_key or a private_key`);
    this.#public = createPublicKey(source as KeyObject);
    for (const key of [this.#public, this.#private]) if (key !== undefined) checkKind(algorithm, key);
    this.#checkPair();
  }

  get canSign(): boolean {
    return this.#private !== undefined;
  }

  /** Error: there is no private key. */
  sign(content: Uint8Array): Uint8Array {
    if (this.#private === undefined) throw new Error('there is no private key to sign with');
    if (this.algorithm.startsWith('HS')) return this.#mac(content);
    return sign(this.#hash, content, this.#options(this.#private));
  }

  verify(content: Uint8Array, signature: Uint8Array): boolean {
    if (this.algorithm.startsWith('HS')) return isSame(this.#mac(content), signature);
    return verify(this.#hash, content, this.#options(this.#public), signature);
  }

  #mac(content: Uint8Array): Uint8Array {
    return createHmac(this.#hash!, this.#public).update(content).digest();
  }

  /** EdDSA has one of its own. */
  get #hash(): string | undefined {
    return this.algorithm === 'EdDSA' ? undefined : `sha${this.algorithm.slice(2)}`;
  }

  #options(key: KeyObject) {
    if (this.algorithm.startsWith('PS'))
      return {
        key,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      };
    return { key, dsaEncoding: 'ieee-p1363' as const };
  }

  /** Two files that do not belong together would make tokens that no node takes. */
  #checkPair(): void {
    if (this.#private === undefined) return;
    const probe = Buffer.from('holdfast');
    if (!this.verify(probe, this.sign(probe)))
      throw new Error('public_key and private_key do not belong together');
  }
}

function secretKey(algorithm: string, secret: Uint8Array | undefined): KeyObject {
  const least = Number(algorithm.slice(2)) / 8;
  if (secret !== undefined && secret.byteLength >= least) return createSecretKey(secret);
  throw new Error(`${algorithm} needs a private_key of ${least} bytes or more: the secret itself`);
}

function checkKind(algorithm: string, key: KeyObject): void {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  const curve = CURVES[algorithm];
  if (curve !== undefined) {
    if (type !== 'ec' || details?.namedCurve !== curve)
      throw new Error(`${algorithm} needs a key on ${curve}`);
  } else if (algorithm === 'EdDSA') {
    if (type !== 'ed25519' && type !== 'ed448') throw new Error('EdDSA needs an Ed25519 or Ed448 key');
  } else if (type !== 'rsa' || (details?.modulusLength ?? 0) < LEAST_RSA_BITS)
    throw new Error(`${algorithm} needs an RSA key of ${LEAST_RSA_BITS} bits or more`);
}
