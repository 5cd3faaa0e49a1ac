import type * as grpc from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';

/** The gRPC health of a server, whole and by service, for load balancers. */
export class Health {
  readonly #implementation: HealthImplementation;
  readonly #names: readonly string[];

  /** Not serving, until `set(true)`. */
  constructor(server: grpc.Server, services: readonly string[]) {
    this.#names = ['', ...services];
    this.#implementation = new HealthImplementation(
      Object.fromEntries(this.#names.map((name) => [name, 'NOT_SERVING'])),
    );
    this.#implementation.addToServer(server);
  }

  set(serving: boolean): void {
    for (const name of this.#names) this.#implementation.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
  }
}
