import { Redis } from 'ioredis';
import { ServerProcess, freePorts, freshDirectory, versionOf } from '../server-process.ts';
import type { Driver, System, SystemOptions } from '../system.ts';

/** Redis with an append-only file that is synced on every write, through ioredis. */
export class RedisSystem implements System {
  readonly name: string;
  readonly description: string;
  readonly #directory = freshDirectory('redis');
  readonly #autoPipelining: boolean;
  #server: ServerProcess | undefined;
  #port = 0;

  constructor({ nodes }: SystemOptions, autoPipelining: boolean) {
    if (nodes !== 1) throw new Error('redis is measured as one server');
    this.name = 'redis';
    this.#autoPipelining = autoPipelining;
    const version = versionOf('redis-server', 'redis-server');
    this.description = `${version}; appendonly, appendfsync always; ioredis ${autoPipelining ? 'auto-pipelined' : 'plain'}`;
  }

  get pids(): number[] {
    return this.#server === undefined ? [] : [this.#server.pid];
  }

  async connect(): Promise<Driver> {
    if (this.#server === undefined) await this.#start();
    const client = new Redis({
      port: this.#port,
      enableAutoPipelining: this.#autoPipelining,
      lazyConnect: true,
    });
    await client.connect();
    return {
      put: (key, value) => client.set(key, Buffer.from(value.buffer, value.byteOffset, value.byteLength)),
      get: (key) => client.getBuffer(key),
      increment: (key) => client.incr(`count/${key}`),
      close: async () => void (await client.quit()),
    };
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
    this.#directory.remove();
  }

  async #start(): Promise<void> {
    [this.#port] = (await freePorts(1)) as [number];
    const settings = ['--port', String(this.#port), '--bind', '127.0.0.1', '--dir', this.#directory.path];
    const durability = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', ''];
    const isReady = async () => {
      const probe = new Redis({ port: this.#port, lazyConnect: true, retryStrategy: () => null });
      probe.on('error', () => undefined);
      try {
        await probe.connect();
        return (await probe.ping()) === 'PONG';
      } finally {
        probe.disconnect();
      }
    };
    this.#server = await ServerProcess.start('redis-server', [...settings, ...durability], isReady);
  }
}
