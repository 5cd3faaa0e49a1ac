import { checkServerIdentity, createSecureContext, type SecureContext } from 'node:tls';
import { type ChannelCredentials, type ChannelOptions, credentials } from '@grpc/grpc-js';
import type { TlsAttempt } from './connection-diagnosis.ts';
import { hostOf, isAddress } from './endpoints.ts';
import { HoldfastError } from './error.ts';
import type { TlsOptions } from './options.ts';

/**
 * Sent as the name of the server where there is none. An address is not a name in TLS, and
 * Node.js refuses it as one, but grpc-js always gives the host of the endpoint.
 */
const NO_NAME = 'holdfast.invalid';

/** The TLS of a client, as grpc-js takes it. */
export class ClientTls {
  /** What it comes to, for who looks why a connection failed. */
  readonly attempt: TlsAttempt;
  readonly #context: SecureContext;

  /** Error: INVALID_FIELD when a certificate or key cannot be used. */
  constructor({ ca, certificate, key, serverName }: TlsOptions) {
    this.attempt = {
      ...(ca === undefined ? {} : { ca: Buffer.from(ca) }),
      ...(certificate === undefined ? {} : { cert: Buffer.from(certificate) }),
      ...(key === undefined ? {} : { key: Buffer.from(key) }),
      servername: serverName,
    };
    this.#context = contextOf(this.attempt);
  }

  credentials(endpoint: string): ChannelCredentials {
    const name = this.attempt.servername ?? hostOf(endpoint);
    return credentials.createFromSecureContext(this.#context, {
      checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate),
    });
  }

  channelOptions(endpoint: string): ChannelOptions {
    const host = hostOf(endpoint);
    const name = this.attempt.servername ?? (isAddress(host) ? NO_NAME : undefined);
    if (name === undefined) return {};
    return { 'grpc.ssl_target_name_override': name, 'grpc.default_authority': endpoint };
  }
}

function contextOf({ ca, cert, key }: TlsAttempt): SecureContext {
  try {
    return createSecureContext({ ca, cert, key, minVersion: 'TLSv1.2' });
  } catch (cause) {
    const message = `tls holds a certificate or key that is not PEM, or they do not belong together (${(cause as Error).message})`;
    throw new HoldfastError({ reason: 'INVALID_FIELD', field: 'tls', message, cause });
  }
}
