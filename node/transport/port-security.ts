/** What both ports do alike with TLS and with connections that they cut. */
import type { Server, TlsOptions, TLSSocket } from 'node:tls';
import type { ClientAuth } from './tls-files.ts';
import type { TlsIdentity } from './tls-identity.ts';

/**
 * Why a port cut a connection: `limit`: there were as many as allowed; `late`: it took too
 * long to begin; `pings`: it pinged too often; `protocol`: it broke HTTP/2, or reset streams
 * too often; `handshake`: TLS failed.
 */
export type CutCause = 'limit' | 'late' | 'pings' | 'protocol' | 'handshake';

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

/**
 * Keeps callers out whose certificate no authority of ours has signed, before a protocol
 * says its first word to them. Where a certificate is only asked for, TLS lets in those
 * with a wrong one as well as those without any.
 */
export function keepStrangersOut(server: Server, onStranger: (error: Error) => void): void {
  const accept = server.listeners('secureConnection') as ((socket: TLSSocket) => void)[];
  server.removeAllListeners('secureConnection');
  server.on('secureConnection', (socket) => {
    if (socket.authorized || socket.getPeerX509Certificate() === undefined) {
      for (const one of accept) one.call(server, socket);
      return;
    }
    onStranger(handshakeError(new Error('the certificate of the caller was refused'), socket));
    socket.destroy();
  });
}
