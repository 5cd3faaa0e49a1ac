/**
 * A real node in a process of its own, run from the compiled program as a person would
 * start it, over a directory that goes away with it. The node also has a channel to this
 * process: if this one is killed, the node stops by itself, so nothing is left behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The program. */
export const HOLDFAST = fileURLToPath(new URL('../../node/bin/holdfast.js', import.meta.url));

/** Which of vitest's workers this is, from 1 on. */
const WORKER = Number(process.env['VITEST_POOL_ID'] ?? 1);

/**
 * Where nodes of tests listen. On Linux not 127.0.0.1: while a node is down, a client that
 * keeps connecting to a port from the kernel's range may be given that very port as its own
 * and so connect to itself, and the node finds its port in use. Each worker has an address of
 * its own, as the kernel may give one the port of a node of another that is just down.
 */
export const HOST = process.platform === 'linux' ? `127.0.0.${1 + WORKER}` : '127.0.0.1';

const START_MS = 45_000;
const STOP_MS = 30_000;

export interface RealNodeOptions {
  /** Parent of the data directory; default: a fresh temporary directory. */
  readonly under?: string;
  /** Default: n1. */
  readonly name?: string;
  /** Lines below `storage:` of cluster.yaml. */
  readonly storage?: readonly string[];
  /** Lines below `limits:` of cluster.yaml. */
  readonly limits?: readonly string[];
  /** Lines below `tls:` of cluster.yaml; paths are relative to the node's directory. */
  readonly tls?: readonly string[];
  /** Lines below `log:` of cluster.yaml. */
  readonly log?: readonly string[];
  /** More of the environment of its process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called with the node's directory before it starts. */
  readonly furnish?: (directory: string) => void;
}

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What the node said of its last start. */
export interface StartReport {
  /** From spawn to ready. */
  readonly startMs: number;
  /** Of that, by the node's own account, opening the data. */
  readonly recoveryMs: number;
  readonly replayedEntries: number;
  readonly tornBytes: number;
}

const living = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

/** Free ports, found by the kernel; held all at once, so they differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => listening(0)));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Something else that has a port; 0: any. */
export function listening(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, HOST, () => resolve(server));
  });
}

/** A cluster.yaml of one node. */
function clusterYaml(
  { name = 'n1', storage = [], limits = [], tls = [], log = [] }: RealNodeOptions,
  grpc: string,
  http: string,
): string {
  const settings = storage.length > 0 ? storage : ['segment_bytes: 1MiB', 'min_free_bytes: 8MiB'];
  const section = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : [`${title}:`, ...lines.map((line) => `  ${line}`)];
  return [
    'cluster: test',
    'nodes:',
    `  - name: ${name}`,
    `    grpc: ${grpc}`,
    `    http: ${http}`,
    ...section('storage', settings),
    ...section('limits', limits),
    ...section('tls', tls),
    ...section('log', log),
    '',
  ].join('\n');
}

/** What a node's process is started with. */
export interface NodePlace {
  readonly name: string;
  /** Directory of cluster.yaml; goes away with the node. */
  readonly directory: string;
  /** Parent of the data directory. */
  readonly dataParent: string;
  readonly grpc: string;
  readonly http: string;
  readonly isTls?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  /** A program and its arguments that puts itself in place of the node's: same process, other surroundings. */
  readonly launcher?: readonly string[];
  /** Arguments of the program; default: it starts this node of its cluster.yaml. */
  readonly args?: readonly string[];
}

export class RealNode implements AsyncDisposable {
  readonly name: string;
  /** Directory of cluster.yaml. */
  readonly directory: string;
  readonly dataDirectory: string;
  readonly grpc: string;
  readonly http: string;
  readonly #command: readonly string[];
  readonly #isTls: boolean;
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;
  #ended: Promise<ProcessEnd> | undefined;
  #output = '';
  #onOutput: () => void = () => undefined;

  /** A node of a cluster.yaml that is there. */
  constructor({
    name,
    directory,
    dataParent,
    grpc,
    http,
    isTls = false,
    env = {},
    launcher = [],
    args,
  }: NodePlace) {
    this.name = name;
    this.#isTls = isTls;
    this.#env = env;
    this.directory = directory;
    this.dataDirectory = join(dataParent, name);
    this.grpc = grpc;
    this.http = http;
    const config = join(directory, 'cluster.yaml');
    const usual = ['start', '--node', name, '--config', config, '--data-dir', dataParent];
    this.#command = [...launcher, process.execPath, HOLDFAST, ...(args ?? usual)];
  }

  /** A node that is set up and not started. */
  static async prepare(options: RealNodeOptions = {}): Promise<RealNode> {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-process-'));
    const [grpcPort, httpPort] = await freePorts(2);
    const node = new RealNode({
      name: options.name ?? 'n1',
      directory,
      dataParent: options.under ?? join(directory, 'data'),
      grpc: `${HOST}:${grpcPort}`,
      http: `${HOST}:${httpPort}`,
      isTls: options.tls !== undefined,
      ...(options.env && { env: options.env }),
    });
    writeFileSync(join(directory, 'cluster.yaml'), clusterYaml(options, node.grpc, node.http));
    options.furnish?.(directory);
    return node;
  }

  /** A node that takes calls. */
  static async start(options: RealNodeOptions = {}): Promise<RealNode> {
    const node = await RealNode.prepare(options);
    try {
      await node.start();
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
    return node;
  }

  /** URL of the HTTP port. */
  get url(): string {
    return `${this.#isTls ? 'https' : 'http'}://${this.http}`;
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  /** How the process ends, or has ended. */
  get ended(): Promise<ProcessEnd> {
    return this.#ended!;
  }

  /** What the processes of this node have printed. */
  get output(): string {
    return this.#output;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && living.has(this.#child);
  }

  /** Starts the process, a new one on the same data when there was one; resolves when it is ready. */
  async start(): Promise<StartReport> {
    const startedMs = performance.now();
    const from = this.#output.length;
    const ended = this.spawn();
    const report = await this.shows(() => readyLine(this.#output.slice(from)), ended, START_MS);
    const startMs = performance.now() - startedMs;
    // Over TLS this process need not be one that the node lets in.
    const ready = this.#isTls ? undefined : await fetch(`${this.url}/readyz`);
    if (ready !== undefined && ready.status !== 200)
      throw new Error(`ready, but /readyz says ${ready.status}: ${this.#output}`);
    return { ...report, startMs };
  }

  /** Starts the process and does not wait for more than its end. */
  spawn(): Promise<ProcessEnd> {
    if (this.isRunning) throw new Error('the node runs already');
    const { HOLDFAST_ENDPOINTS: _, UV_THREADPOOL_SIZE: __, ...env } = process.env;
    const [program, ...args] = this.#command;
    const child = spawn(program!, args, {
      cwd: this.directory,
      env: { ...env, ...this.#env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    living.add(child);
    this.#child = child;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
        this.#onOutput();
      });
    }
    this.#ended = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => {
        living.delete(child);
        resolve({ code, signal });
      });
    });
    return this.#ended;
  }

  /** kill -9. */
  kill(): Promise<ProcessEnd> {
    this.#child!.kill('SIGKILL');
    return this.#ended!;
  }

  /** SIGSTOP, SIGCONT, or another; to this process alone. */
  signal(signal: NodeJS.Signals): void {
    this.#child!.kill(signal);
  }

  /** SIGTERM; a node that has not ended in time is killed, and that is an error. */
  async stop(): Promise<ProcessEnd & { readonly stopMs: number }> {
    const startedMs = performance.now();
    this.#child!.kill('SIGTERM');
    const end = await within(this.#ended!, STOP_MS, () => `the node does not stop: ${this.#output}`);
    return { ...end, stopMs: performance.now() - startedMs };
  }

  /** Resolves with what `look` finds when it finds something after some output. */
  async shows<T>(look: () => T | undefined, ended: Promise<ProcessEnd>, withinMs: number): Promise<T> {
    const found = new Promise<T>((resolve, reject) => {
      this.#onOutput = () => {
        const result = look();
        if (result !== undefined) resolve(result);
      };
      this.#onOutput();
      void ended.then(({ code, signal }) => {
        reject(new Error(`the node ended (${signal ?? code}): ${this.#output}`));
      }, reject);
    });
    return within(found, withinMs, () => `not seen in ${withinMs} ms: ${this.#output}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isRunning) await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function readyLine(output: string): Omit<StartReport, 'startMs'> | undefined {
  const line = output.split('\n').find((one) => one.startsWith('{') && one.includes('"node is ready"'));
  if (line === undefined || !line.endsWith('}')) return undefined;
  const { recovery_ms, replayed_entries, torn_bytes } = JSON.parse(line) as Record<string, number>;
  return { recoveryMs: recovery_ms!, replayedEntries: replayed_entries!, tornBytes: torn_bytes! };
}

/** The promise's result, or an error when it takes longer than that. */
export async function within<T>(promise: Promise<T>, ms: number, what: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(what())), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks again and again until the answer is yes; an error when that takes longer than `ms`. */
export async function until(
  ask: () => boolean | Promise<boolean>,
  ms: number,
  what: () => string,
): Promise<void> {
  const endMs = performance.now() + ms;
  while (!(await ask())) {
    if (performance.now() > endMs) throw new Error(`not so after ${ms} ms: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
