import { Etcd3 } from 'etcd3';
import { ServerProcess, freePorts, freshDirectory, versionOf } from '../server-process.ts';
import type { Driver, System, SystemOptions } from '../system.ts';

/** etcd, one member or three on this machine, through etcd3. Reads are linearizable. */
export class EtcdSystem implements System {
  readonly name = 'etcd';
  readonly description: string;
  readonly #directory = freshDirectory('etcd');
  readonly #nodes: number;
  #servers: ServerProcess[] = [];
  #clients: number[] = [];

  constructor({ nodes }: SystemOptions) {
    this.#nodes = nodes;
    this.description = `${versionOf('etcd', 'etcd-server')}; ${nodes} member(s), every write synced; npm etcd3`;
  }

  get pids(): number[] {
    return this.#servers.map(({ pid }) => pid);
  }

  async connect(): Promise<Driver> {
    if (this.#servers.length === 0) await this.#start();
    const client = new Etcd3({ hosts: this.#clients.map((port) => `127.0.0.1:${port}`) });
    return {
      put: (key, value) =>
        client
          .put(key)
          .value(Buffer.from(value.buffer, value.byteOffset, value.byteLength))
          .exec(),
      get: (key) => client.get(key).buffer(),
      configPut: (key, value) =>
        client
          .put(key)
          .value(Buffer.from(value.buffer, value.byteOffset, value.byteLength))
          .exec(),
      lockCycle: async (name) => {
        const lock = await client.lock(name).ttl(30).acquire();
        await lock.release();
      },
      follow: (prefix, watchers, onChange) => this.#follow(prefix, watchers, onChange),
      increment: async (key) => {
        for (;;) {
          const current = await client.get(`count/${key}`).exec();
          const kv = current.kvs[0];
          const next = String(Number(kv?.value.toString() ?? 0) + 1);
          const compare =
            kv === undefined
              ? client.if(`count/${key}`, 'Create', '==', 0)
              : client.if(`count/${key}`, 'Mod', '==', kv.mod_revision);
          if ((await compare.then(client.put(`count/${key}`).value(next)).commit()).succeeded) return;
        }
      },
      scan: (start, limit) => client.getAll().prefix(start.slice(0, 4)).limit(limit).buffers(),
      close: async () => client.close(),
    };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.stop()));
    this.#directory.remove();
  }

  async #follow(
    prefix: string,
    watchers: number,
    onChange: (key: string) => void,
  ): Promise<() => Promise<void>> {
    const client = new Etcd3({ hosts: this.#clients.map((port) => `127.0.0.1:${port}`) });
    const following = await Promise.all(
      Array.from({ length: watchers }, async () => {
        const watcher = await client.watch().prefix(prefix).create();
        return watcher.on('put', ({ key }) => onChange(key.toString()));
      }),
    );
    return async () => {
      // A watcher that is not cancelled connects again for ever, also after its client is closed.
      await Promise.all(following.map((watcher) => watcher.cancel()));
      client.close();
    };
  }

  async #start(): Promise<void> {
    const ports = await freePorts(this.#nodes * 2);
    this.#clients = ports.slice(0, this.#nodes);
    const peers = ports.slice(this.#nodes);
    const members = peers.map((port, i) => `m${i}=http://127.0.0.1:${port}`).join(',');
    this.#servers = await Promise.all(
      peers.map((peer, i) => {
        const client = `http://127.0.0.1:${this.#clients[i]}`;
        const args = [
          ['--name', `m${i}`],
          ['--data-dir', `${this.#directory.path}/m${i}`],
          ['--listen-client-urls', client],
          ['--advertise-client-urls', client],
          ['--listen-peer-urls', `http://127.0.0.1:${peer}`],
          ['--initial-advertise-peer-urls', `http://127.0.0.1:${peer}`],
          ['--initial-cluster', members],
          ['--quota-backend-bytes', String(8 * 2 ** 30)],
          ['--log-level', 'error'],
        ].flat();
        const isReady = async () =>
          (await fetch(`${client}/health`).then((answer) => answer.text())).includes('true');
        return ServerProcess.start('etcd', args, isReady);
      }),
    );
  }
}
