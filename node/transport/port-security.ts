/** What both ports do alike with TLS and with connections that they cut. */
import type { TlsOptions } from 'node:tls';
import type { ClientAuth } from './tls-files.ts';
import type { TlsIdentity } from './tls-identity.ts';

/**
 * Why a port cut a connection: `limit`: there were as many as allowed; `late`: it took too
 * long to begin; `pings`: it pinged too often; `handshake`: TLS failed.
 */
export type CutCause = 'limit' | 'late' | 'pings' | 'handshake';

export interface PortEvents {
  onCut(cause: CutCause): void;
  /** TLS was not agreed upon. */
  onHandshakeFailure(error: Error): void;
  /** What failed outside of any call, such as accepting connections. */
  onDefect(where: string, error: unknown): void;
}

/** Options of a `tls.Server`. */
export function tlsServerOptions(tls: TlsIdentity, clientAuth: ClientAuth): TlsOptions {
  return {
    ...tls.contextOptions,
    requestCert: clientAuth !== 'none',
    rejectUnauthorized: clientAuth === 'require',
  };
}

/** Why a handshake failed; of a caller whose certificate was refused the error says nothing. */
export function handshakeError(error: Error, socket: { readonly authorizationError?: unknown }): Error {
  const { authorizationError } = socket;
  if (authorizationError === undefined || authorizationError === null) return error;
  return new Error(`the certificate of the caller was refused (${authorizationError as string})`);
}

interface MaybeTlsSocket {
  readonly authorized?: boolean;
  getPeerX509Certificate?(): unknown;
}

/**
 * Whether a caller showed a certificate that no authority of ours has signed. One who may
 * come without any is let in by TLS with a wrong one, too, and must not be.
 */
export function isStranger(socket: unknown): boolean {
  const { authorized, getPeerX509Certificate } = socket as MaybeTlsSocket;
  if (authorized !== false || getPeerX509Certificate === undefined) return false;
  return (socket as MaybeTlsSocket).getPeerX509Certificate!() !== undefined;
}

/** Why such a caller was turned away. */
export function strangerError(): Error {
  return new Error(
    'the certificate of the caller was not signed by an authority of tls.ca, or is not valid now',
  );
}
