/** What both ports do to begin to listen, and say where they do. */
import { createServer, type AddressInfo, type Server } from 'node:net';

/** Where a server listens. */
export interface ListeningAddress {
  readonly host: string;
  readonly port: number;
}

/** Starts to serve; port 0 takes a free one. Rejects with the system's error, such as EADDRINUSE. */
export function listenOn(
  server: Server,
  host: string,
  port: number,
  onDefect: (error: Error) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      server.on('error', onDefect); // nobody listening to an error would end the process
      resolve();
    });
  });
}

/** Where a server listens; undefined when it does not. */
export function listeningAddress(server: Server): ListeningAddress | undefined {
  const address = server.address() as AddressInfo | null;
  return address === null ? undefined : { host: address.address, port: address.port };
}

/** Whether a server could listen there now. */
export function canListen(host: string, port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}
