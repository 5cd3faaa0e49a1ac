/** Server reflection and health, for grpcurl, grpc_cli and load balancers. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type * as grpc from '@grpc/grpc-js';
import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';

/** Adds reflection. It is fed the compiled descriptors: from sources it would misname map entries. */
export function addReflection(server: grpc.Server, services: readonly string[]): void {
  const descriptors = readFileSync(fileURLToPath(import.meta.resolve('@holdfast/proto/descriptors')));
  const definition = loadFileDescriptorSetFromBuffer(descriptors);
  new ReflectionService(definition, { services: [...services, 'grpc.health.v1.Health'] }).addToServer(server);
}

/** The health of a server, whole and by service. */
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
