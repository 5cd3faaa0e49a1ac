/** Calls of this node to the services of others, as a client that shows the node's own certificate. */
import { readFileSync } from 'node:fs';
import type { Clock, Timer } from '@holdfast/client/clock';
import { GrpcTransport } from '@holdfast/client/grpc-transport';
import type { Transport } from '@holdfast/client/transport';
import type { TlsSettings } from '../transport/tls-files.ts';

/** Calls on connections that were made with earlier TLS files may take this long. */
const OUTGOING_MS = 60_000;

/** Reads the TLS files at `open`, and anew at `renew`, when files that cannot be used leave it as it is. */
export class NodeCalls implements Transport {
  readonly #tls: TlsSettings | undefined;
  readonly #clock: Clock;
  readonly #token: () => string | undefined;
  readonly #outgoing = new Map<Transport, Timer>();
  #current: Transport | undefined;

  /** `token`: what shows that a call comes from a node; undefined: nobody is asked. */
  constructor(tls: TlsSettings | undefined, clock: Clock, token: () => string | undefined) {
    this.#token = token;
    this.#tls = tls;
    this.#clock = clock;
  }

  /** To be called before all else, when the files are known to be right. */
  open(): void {
    this.#current = this.#create();
  }

  readonly unary: Transport['unary'] = (...call) => this.#current!.unary(...call);
  readonly serverStream: Transport['serverStream'] = (...call) => this.#current!.serverStream(...call);
  readonly openStream: Transport['openStream'] = (...call) => this.#current!.openStream(...call);

  /** The TLS files have changed: connections from now on are made with them. */
  renew(): void {
    const old = this.#current;
    if (old === undefined) return;
    try {
      this.#current = this.#create();
    } catch {
      return; // they have changed once more, and whoever watches them says what is wrong
    }
    const timer = this.#clock.setTimer(OUTGOING_MS, () => {
      this.#outgoing.delete(old);
      old.close();
    });
    this.#outgoing.set(old, timer);
  }

  close(): void {
    this.#current?.close();
    for (const [transport, timer] of this.#outgoing) {
      timer.cancel();
      transport.close();
    }
    this.#outgoing.clear();
  }

  #create(): Transport {
    return new GrpcTransport(this.#tls && clientTls(this.#tls), { token: this.#token });
  }
}

function clientTls({ ca, cert, key }: TlsSettings) {
  return {
    ca: ca === undefined ? undefined : readFileSync(ca),
    certificate: readFileSync(cert),
    key: readFileSync(key),
  };
}
