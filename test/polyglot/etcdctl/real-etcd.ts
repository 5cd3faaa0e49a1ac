/** Three members of a real etcd, each a process over a directory that goes away with them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HOST, freePorts, until } from '../../process/real-node.ts';

const START_MS = 30_000;

export class RealEtcd implements AsyncDisposable {
  readonly endpoints: readonly string[];
  readonly #directory: string;
  readonly #children: readonly ChildProcess[];

  private constructor(endpoints: readonly string[], directory: string, children: readonly ChildProcess[]) {
    this.endpoints = endpoints;
    this.#directory = directory;
    this.#children = children;
  }

  static async start(etcd: string): Promise<RealEtcd> {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-etcd-'));
    const names = ['n1', 'n2', 'n3'];
    const ports = await freePorts(2 * names.length);
    const client = (at: number) => `http://${HOST}:${ports[2 * at]}`;
    const peer = (at: number) => `http://${HOST}:${ports[2 * at + 1]}`;
    const members = names.map((name, at) => `${name}=${peer(at)}`).join(',');
    const children = names.map((name, at) =>
      spawn(
        etcd,
        [
          `--name=${name}`,
          `--data-dir=${join(directory, name)}`,
          `--listen-client-urls=${client(at)}`,
          `--advertise-client-urls=${client(at)}`,
          `--listen-peer-urls=${peer(at)}`,
          `--initial-advertise-peer-urls=${peer(at)}`,
          `--initial-cluster=${members}`,
          '--initial-cluster-state=new',
          '--log-level=error',
        ],
        { stdio: 'ignore' },
      ),
    );
    const endpoints = names.map((_, at) => `${HOST}:${ports[2 * at]}`);
    const cluster = new RealEtcd(endpoints, directory, children);
    try {
      for (const endpoint of endpoints)
        await until(
          () => isHealthy(endpoint),
          START_MS,
          () => `etcd at ${endpoint} is not healthy`,
        );
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ends = this.#children.map(
      (child) =>
        new Promise<void>((resolve) => {
          if (child.exitCode !== null || child.signalCode !== null) return resolve();
          child.once('exit', () => resolve());
          child.kill('SIGKILL');
        }),
    );
    await Promise.all(ends);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

async function isHealthy(endpoint: string): Promise<boolean> {
  try {
    const answer = await fetch(`http://${endpoint}/health`, { signal: AbortSignal.timeout(1_000) });
    return ((await answer.json()) as { health: string }).health === 'true';
  } catch {
    return false;
  }
}
