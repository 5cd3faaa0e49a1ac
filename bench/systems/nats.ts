import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { type NatsConnection, connect } from '@nats-io/transport-node';
import { ServerProcess, freePorts, freshDirectory, versionOf } from '../server-process.ts';
import type { Driver, System, SystemOptions } from '../system.ts';

const STREAM = 'bench';
/** Messages that a reader has asked for ahead. */
const AHEAD = 5_000;
/** For the election of whoever keeps the streams. */
const START_MS = 30_000;

/** NATS JetStream, one server or three: a stream in files, a replica on each server, through npm @nats-io. */
export class NatsSystem implements System {
  readonly name = 'nats';
  readonly description: string;
  readonly #directory = freshDirectory('nats');
  readonly #nodes: number;
  #servers: ServerProcess[] = [];
  #ports: number[] = [];

  constructor({ nodes }: SystemOptions) {
    this.#nodes = nodes;
    const version = versionOf('nats-server', 'nats-server');
    this.description = `${version}; ${nodes} server(s), a stream of ${nodes} replica(s) in files, acknowledged by a majority before it is synced (every 2 min); npm @nats-io/jetstream`;
  }

  get pids(): number[] {
    return this.#servers.map(({ pid }) => pid);
  }

  async connect(): Promise<Driver> {
    if (this.#servers.length === 0) await this.#start();
    const connection = await this.#connection();
    const manager = await jetstreamManager(connection, { checkAPI: false });
    await this.#createStream(manager);
    return new NatsDriver(connection, manager, () => this.#connection());
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.stop()));
    this.#directory.remove();
  }

  #connection(): Promise<NatsConnection> {
    return connect({ servers: this.#ports.map((port) => `127.0.0.1:${port}`) });
  }

  async #createStream(manager: JetStreamManager): Promise<void> {
    const endMs = performance.now() + START_MS;
    for (;;) {
      try {
        await manager.streams.add({ name: STREAM, subjects: [STREAM], num_replicas: this.#nodes });
        return;
      } catch (error) {
        if (performance.now() > endMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }

  async #start(): Promise<void> {
    const ports = await freePorts(this.#nodes * 2);
    this.#ports = ports.slice(0, this.#nodes);
    const routes = ports.slice(this.#nodes).map((port) => `nats://127.0.0.1:${port}`);
    this.#servers = await Promise.all(
      this.#ports.map((port, at) => {
        const args = ['-js', '-sd', `${this.#directory.path}/s${at}`, '-n', `s${at}`];
        const where = ['-a', '127.0.0.1', '-p', String(port)];
        const cluster = ['--cluster_name', 'bench', '--cluster', routes[at]!, '--routes', routes.join(',')];
        const isReady = async () => {
          const probe = await connect({ servers: `127.0.0.1:${port}`, reconnect: false });
          await probe.close();
          return true;
        };
        const all = [...args, ...where, ...(this.#nodes > 1 ? cluster : [])];
        return ServerProcess.start('nats-server', all, isReady);
      }),
    );
  }
}

class NatsDriver implements Driver {
  readonly #connection: NatsConnection;
  readonly #manager: JetStreamManager;
  readonly #stream: JetStreamClient;
  readonly #another: () => Promise<NatsConnection>;

  constructor(connection: NatsConnection, manager: JetStreamManager, another: () => Promise<NatsConnection>) {
    this.#connection = connection;
    this.#manager = manager;
    this.#stream = jetstream(connection);
    this.#another = another;
  }

  produce(value: Uint8Array): Promise<unknown> {
    return this.#stream.publish(STREAM, value);
  }

  async consume(records: number): Promise<void> {
    const { name } = await this.#manager.consumers.add(STREAM, { ack_policy: 'none', deliver_policy: 'all' });
    const consumer = await this.#stream.consumers.get(STREAM, name);
    let seen = 0;
    for await (const { data } of await consumer.consume({ max_messages: AHEAD })) {
      seen += Number(data !== undefined);
      if (seen >= records) break;
    }
    await this.#manager.consumers.delete(STREAM, name);
  }

  async receive(onRecord: (value: Uint8Array) => void): Promise<() => Promise<void>> {
    const connection = await this.#another();
    const manager = await jetstreamManager(connection);
    const { name } = await manager.consumers.add(STREAM, { ack_policy: 'none', deliver_policy: 'new' });
    const consumer = await jetstream(connection).consumers.get(STREAM, name);
    const messages = await consumer.consume({ max_messages: AHEAD });
    const reading = (async () => {
      for await (const { data } of messages) onRecord(data);
    })();
    return async () => {
      messages.stop();
      await reading;
      await manager.consumers.delete(STREAM, name);
      await connection.close();
    };
  }

  put(): Promise<unknown> {
    return noKeys();
  }

  get(): Promise<unknown> {
    return noKeys();
  }

  increment(): Promise<unknown> {
    return noKeys();
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}

function noKeys(): Promise<never> {
  return Promise.reject(new Error('nats is measured by its streams: produce, consume, end-to-end'));
}
