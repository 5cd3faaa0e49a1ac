import type { Config } from '../config/config.ts';
import type { ConfigView } from '../config/config-view.ts';
import { sleep } from '../clock.ts';
import type { ClientCore } from '../core.ts';
import type { Duration } from '../duration.ts';
import type { HoldfastError } from '../error.ts';
import type { CallOptions } from '../keyspace-options.ts';
import { retryDelayMs } from '../retry.ts';
import { asHoldfastError } from '../unary.ts';
import { invalid } from '../values.ts';
import type { Lease } from './lease.ts';
import type { Leases } from './leases.ts';

/** An instance of a service. */
export interface ServiceInstance {
  /** Where it is, as it was registered. */
  readonly address: string;
  /** What it says of itself. */
  readonly meta: Readonly<Record<string, string>>;
}

/** Options of `register`. */
export interface RegisterOptions extends CallOptions {
  /** For how long it stays registered when this process dies, 1 s to 24 h. Default: 10 s. */
  ttl?: Duration | undefined;
}

type Instances = Readonly<Record<string, ServiceInstance>>;

/**
 * A registry of the instances of a service: a thin use of the configuration, with keys
 * `services/<name>/<address>` that end with a lease each.
 */
export class Services {
  /** Of the service. */
  readonly name: string;
  readonly #core: ClientCore;
  readonly #config: Config;
  readonly #leases: Leases;

  /** @internal */
  constructor(core: ClientCore, config: Config, leases: Leases, name: string) {
    if (name === '' || name.includes('/')) {
      throw invalid(
        'name',
        `the name of a service is ${JSON.stringify(name)}, allowed is text without a slash`,
      );
    }
    this.#core = core;
    this.#config = config;
    this.#leases = leases;
    this.name = name;
  }

  /**
   * Registers an instance, until the registration is closed. While the cluster cannot be reached
   * for longer than its time to live it is not listed, and registered again afterwards. Errors: as `config.put`.
   */
  async register(
    address: string,
    meta: Readonly<Record<string, string>> = {},
    options: RegisterOptions = {},
  ): Promise<Registration> {
    const key = `${prefixOf(this.name)}${address}`;
    const put = async (how: CallOptions) => {
      const lease = await this.#leases.grant({ ttl: options.ttl, name: key, ...how });
      try {
        await this.#config.put(key, { address, meta }, { lease, ...how });
      } catch (error) {
        lease.revoke().catch(() => undefined);
        throw error;
      }
      return lease;
    };
    const how = { timeout: options.timeout, signal: options.signal };
    return new Registration(this.#core, await put(how), () => put({}));
  }

  /** The instances that are registered now. */
  async list(options: CallOptions = {}): Promise<ServiceInstance[]> {
    const { entries } = await this.#config.list({ prefix: prefixOf(this.name) }, options);
    return entries.map((entry) => entry.json<ServiceInstance>());
  }

  /** The instances, kept up to date; filled before it resolves. */
  async watch(options: CallOptions = {}): Promise<ServiceWatch> {
    const read = (entry: { json(): unknown }) => entry.json() as ServiceInstance;
    return new ServiceWatch(await this.#config.view<ServiceInstance>(prefixOf(this.name), read, options));
  }
}

/** The instances of a service, kept up to date. */
export class ServiceWatch implements Disposable {
  readonly #view: ConfigView<Instances>;

  /** @internal */
  constructor(view: ConfigView<Instances>) {
    this.#view = view;
  }

  /** The instances now. */
  get instances(): readonly ServiceInstance[] {
    return Object.values(this.#view.current);
  }

  /** Calls back when instances have come or gone. Returns what ends that. */
  onChange(listener: (instances: readonly ServiceInstance[]) => void): () => void {
    return this.#view.onChange(() => listener(this.instances));
  }

  /** Ends it: the instances stay as they are. */
  close(): void {
    this.#view.close();
  }

  /** `close()`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** An instance that is kept registered. */
export class Registration implements AsyncDisposable {
  readonly #core: ClientCore;
  readonly #register: () => Promise<Lease>;
  readonly #closing = new AbortController();
  #lease: Lease;

  /** @internal */
  constructor(core: ClientCore, lease: Lease, register: () => Promise<Lease>) {
    this.#core = core;
    this.#register = register;
    this.#lease = lease;
    this.#follow(lease);
  }

  /** Whether it can be relied upon to be listed now. */
  get isRegistered(): boolean {
    return this.#lease.isAlive;
  }

  /** Ends the registration: it is not listed any more. */
  async close(options: CallOptions = {}): Promise<void> {
    this.#closing.abort();
    await this.#lease.revoke(options);
  }

  /** `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #follow(lease: Lease): void {
    const onEnded = () => void this.#again(lease.signal.reason as HoldfastError);
    if (lease.signal.aborted) onEnded();
    else lease.signal.addEventListener('abort', onEnded, { once: true });
  }

  async #again(error: HoldfastError): Promise<void> {
    for (let attempts = 1; !this.#isOver; attempts += 1) {
      try {
        await sleep(this.#core.clock, retryDelayMs(error, attempts, this.#core.random), this.#closing.signal);
        this.#lease = await this.#register();
        if (this.#isOver) await this.#lease.revoke();
        else this.#follow(this.#lease);
        return;
      } catch (cause) {
        error = asHoldfastError(cause);
      }
    }
  }

  get #isOver(): boolean {
    return this.#closing.signal.aborted || this.#core.closing.aborted;
  }
}

function prefixOf(name: string): string {
  return `services/${name}/`;
}
