/** Calls of this node to the services of others, as a client that shows the node's own certificate. */
import { readFileSync } from 'node:fs';
import type { Clock, Timer } from '@holdfast/client/clock';
import { GrpcTransport } from '@holdfast/client/grpc-transport';
import type { Transport } from '@holdfast/client/transport';
import type { TlsSettings } from '../transport/tls-files.ts';

/** Calls on connections that were made with earlier TLS files may take this long. */
const OUTGOING_MS = 60_000;

/** Reads the TLS files when it is first used, and anew after `renew`. */
export class NodeCalls implements Transport {
  readonly #tls: TlsSettings | undefined;
  readonly #clock: Clock;
  readonly #outgoing = new Map<Transport, Timer>();
  #current: Transport | undefined;
  #isClosed = false;

  constructor(tls: TlsSettings | undefined, clock: Clock) {
    this.#tls = tls;
    this.#clock = clock;
  }

  readonly unary: Transport['unary'] = (...call) => this.#transport().unary(...call);
  readonly serverStream: Transport['serverStream'] = (...call) => this.#transport().serverStream(...call);
  readonly openPipeline: Transport['openPipeline'] = (...call) => this.#transport().openPipeline(...call);

  /** The TLS files have changed: connections from now on are made with them. */
  renew(): void {
    const old = this.#current;
    if (old === undefined) return;
    this.#current = undefined;
    const timer = this.#clock.setTimer(OUTGOING_MS, () => {
      this.#outgoing.delete(old);
      old.close();
    });
    this.#outgoing.set(old, timer);
  }

  close(): void {
    this.#isClosed = true;
    this.#current?.close();
    for (const [transport, timer] of this.#outgoing) {
      timer.cancel();
      transport.close();
    }
    this.#outgoing.clear();
  }

  #transport(): Transport {
    if (this.#current === undefined) {
      this.#current = new GrpcTransport(this.#tls && clientTls(this.#tls));
      if (this.#isClosed) this.#current.close();
    }
    return this.#current;
  }
}

function clientTls({ ca, cert, key }: TlsSettings) {
  return {
    ca: ca === undefined ? undefined : readFileSync(ca),
    certificate: readFileSync(cert),
    key: readFileSync(key),
  };
}
