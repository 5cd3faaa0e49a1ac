/** A server that a benchmark started: its process, directory and output. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemMissing } from './system.ts';

/** How exactly the time of a start is known. */
const READY_POLL_MS = 10;

export class ServerProcess {
  readonly #child: ChildProcess;
  #output = '';
  #ended = false;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.on('data', (bytes: Buffer) => this.#keep(bytes));
    child.stderr?.on('data', (bytes: Buffer) => this.#keep(bytes));
    child.on('exit', () => {
      this.#ended = true;
    });
    child.on('error', () => {
      this.#ended = true;
    });
  }

  /** Starts a program and waits until `isReady` says so, at most 30 s. */
  static async start(
    command: string,
    args: readonly string[],
    isReady: () => Promise<boolean>,
    env: NodeJS.ProcessEnv = process.env,
  ): Promise<ServerProcess> {
    const server = new ServerProcess(spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] }));
    const deadline = performance.now() + 30_000;
    while (!(await isReady().catch(() => false))) {
      if (server.#ended || performance.now() > deadline) {
        await server.stop();
        throw new Error(`${command} did not start: ${server.#output.slice(-500)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
    }
    return server;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Ends the process, gently first; or at once, as `kill -9` does. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (this.#ended) return;
    const gone = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 15_000);
    await gone;
    clearTimeout(timer);
  }

  #keep(bytes: Buffer): void {
    this.#output = (this.#output + bytes.toString()).slice(-4_000);
  }
}

/** CPU time used so far, all threads, user and system; of servers in steps of 10 ms. */
export function cpuMicroseconds(pids: readonly number[]): { client: number; servers: number } {
  const { user, system } = process.cpuUsage();
  let servers = 0;
  for (const pid of pids) {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // the name before may hold spaces
    servers += (Number(fields[11]) + Number(fields[12])) * 10_000;
  }
  return { client: user + system, servers };
}

/** A fresh directory below the system's place for temporary files. */
export function freshDirectory(name: string): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), `holdfast-bench-${name}-`));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Ports that nothing listens on now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** First line of `command --version`; SystemMissing if there is no such program. */
export function versionOf(command: string, debianPackage: string): string {
  const { stdout, error } = spawnSync(command, ['--version'], { encoding: 'utf8' });
  if (error)
    throw new SystemMissing(`${command} is not installed (Debian: apt-get install ${debianPackage})`);
  return stdout.split('\n')[0]!.trim();
}
