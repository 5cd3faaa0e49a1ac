/**
 * A network for one test: each name has a host of its own, a network namespace, and all of
 * them hang on one bridge; this process reaches them through one more link. What one host
 * sends to another can be dropped, silently, in either direction.
 *
 * A namespace lives as long as a process in it, here one that ends when its input does: so
 * nothing is left behind, however this process ends.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { until } from './real-node.ts';

/** The name of this process among the hosts. */
export const CLIENTS = 'clients';
const FIRST_HOST = 11;
let made = 0;

/** Drops what comes from, or goes to, addresses of two sets. */
const RULES = `
table inet holdfast {
  set from { type ipv4_addr; }
  set to { type ipv4_addr; }
  chain in { type filter hook input priority 0; ip saddr @from drop; }
  chain out { type filter hook output priority 0; ip daddr @to drop; }
}`;

export class TestNetwork implements Disposable {
  readonly #prefix: string;
  readonly #names: readonly string[];
  readonly #bridge: ChildProcess;
  readonly #hosts = new Map<string, ChildProcess>();

  private constructor(names: readonly string[], prefix: string, bridge: ChildProcess) {
    this.#names = names;
    this.#prefix = prefix;
    this.#bridge = bridge;
  }

  static async create(names: readonly string[]): Promise<TestNetwork> {
    const network = new TestNetwork(names, freePrefix(), await namespace());
    try {
      await network.#build();
    } catch (error) {
      network[Symbol.dispose]();
      throw error;
    }
    return network;
  }

  addressOf(name: string): string {
    return `${this.#prefix}.${name === CLIENTS ? 1 : FIRST_HOST + this.#names.indexOf(name)}`;
  }

  /** Starts a program on the host of this name. */
  launcher(name: string): readonly string[] {
    return inside(this.#hosts.get(name)!);
  }

  /** From now on what `from` sends to `to` gets lost. */
  cut(from: string, to: string): void {
    const [host, set, other] = to === CLIENTS ? [from, 'to', to] : [to, 'from', from];
    this.#nft(host, `add element inet holdfast ${set} { ${this.addressOf(other)} }`);
  }

  /** Both ways. */
  split(one: readonly string[], other: readonly string[]): void {
    for (const a of one)
      for (const b of other) {
        this.cut(a, b);
        this.cut(b, a);
      }
  }

  /** Everybody hears everybody again. */
  heal(): void {
    for (const name of this.#hosts.keys())
      this.#nft(name, 'flush set inet holdfast from; flush set inet holdfast to');
  }

  [Symbol.dispose](): void {
    for (const holder of [...this.#hosts.values(), this.#bridge]) holder.kill('SIGKILL');
  }

  async #build(): Promise<void> {
    const bridge = inside(this.#bridge);
    run([...bridge, 'ip', 'link', 'add', 'bridge', 'type', 'bridge']);
    run([...bridge, 'ip', 'link', 'set', 'bridge', 'up']);
    for (const name of this.#names) {
      const holder = await namespace();
      this.#hosts.set(name, holder);
      this.#link(name, ['netns', String(holder.pid)], 'eth0');
      run([...inside(holder), 'ip', 'link', 'set', 'lo', 'up']);
      this.#address(inside(holder), 'eth0', name);
      this.#nft(name, RULES);
    }
    const own = `hf${process.pid}-${made++}`;
    this.#link(CLIENTS, [], own);
    this.#address([], own, CLIENTS);
  }

  /** A link from the bridge to `device`, which is moved as told. */
  #link(name: string, place: readonly string[], device: string): void {
    const port = `to-${name}`;
    run([
      'ip',
      'link',
      'add',
      device,
      ...place,
      'type',
      'veth',
      'peer',
      'name',
      port,
      'netns',
      String(this.#bridge.pid),
    ]);
    run([...inside(this.#bridge), 'ip', 'link', 'set', port, 'master', 'bridge', 'up']);
  }

  #address(where: readonly string[], device: string, name: string): void {
    run([...where, 'ip', 'address', 'add', `${this.addressOf(name)}/24`, 'dev', device]);
    run([...where, 'ip', 'link', 'set', device, 'up']);
  }

  #nft(name: string, commands: string): void {
    run([...this.launcher(name), 'nft', commands]);
  }
}

/** A process in a fresh namespace that ends with this one. */
async function namespace(): Promise<ChildProcess> {
  const holder = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'ignore', 'ignore'] });
  await new Promise((resolve, reject) => {
    holder.once('spawn', resolve);
    holder.once('error', reject);
  });
  const own = readlinkSync('/proc/self/ns/net');
  await until(
    () => holder.exitCode === null && readlinkSync(`/proc/${holder.pid}/ns/net`) !== own,
    5_000,
    () => 'no network namespace is made',
  );
  holder.unref();
  return holder;
}

function inside(holder: ChildProcess): string[] {
  return ['nsenter', `--net=/proc/${holder.pid}/ns/net`, '--'];
}

function run([program, ...args]: readonly string[]): void {
  execFileSync(program!, args, { stdio: 'pipe' });
}

/** The first three numbers of addresses that nothing on this machine uses; others may be looking as well. */
function freePrefix(): string {
  const routes = existsSync('/proc/net/route') ? readFileSync('/proc/net/route', 'utf8') : '';
  for (let number = process.pid; ; number++) {
    const [high, low] = [200 + (number % 50), Math.floor(number / 50) % 256];
    const inRouteTable = Buffer.from([0, low, high, 10]).toString('hex').toUpperCase();
    if (!routes.includes(inRouteTable)) return `10.${high}.${low}`;
  }
}

async function findObstacle(): Promise<string | undefined> {
  if (process.platform !== 'linux') return `network namespaces are of Linux, this is ${process.platform}`;
  if (process.getuid?.() !== 0) return 'only root may make network namespaces';
  try {
    (await TestNetwork.create(['probe']))[Symbol.dispose]();
    return undefined;
  } catch (error) {
    return `making a network fails here: ${(error as Error).message.trim()}`;
  }
}

/** Why there can be no network for a test; undefined: there can. */
export const CANNOT_NETWORK = await findObstacle();
