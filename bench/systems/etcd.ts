import { ServerProcess, freePorts, freshDirectory, versionOf } from '../server-process.ts';
import { etcd3Driver } from './etcd3-driver.ts';
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
    return etcd3Driver(this.#clients.map((port) => `127.0.0.1:${port}`));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.stop()));
    this.#directory.remove();
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
