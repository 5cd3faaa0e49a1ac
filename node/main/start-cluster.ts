import { SystemClock } from '@holdfast/client/system-clock';
import type { ClusterConfig } from './cluster-file.ts';
import { ExitCode } from './exit-code.ts';
import { type NodeEnd, NodeProcess } from './node-process.ts';
import { type NodePlan, readyJson, startCommand, welcome } from './start-plan.ts';
import { stopRequested } from './stop-signals.ts';

/** Time that nodes have to finish what they took; longer than a node gives itself. */
const STOP_MS = 15_000;

/** What to run, each node in a process of its own. */
export interface ClusterStart {
  config: ClusterConfig;
  plans: readonly NodePlan[];
  /** Events as JSON lines on stdout, the nodes' own output on stderr. */
  json: boolean;
}

/**
 * Starts every node and stays until it is asked to stop or the last node has died. It does
 * not start a dead node again: why it died is for somebody to look at, and a supervisor
 * that is made for the job (systemd, Kubernetes) runs `holdfast start --node NAME`.
 */
export async function startCluster(start: ClusterStart): Promise<ExitCode> {
  const cluster = new RunningCluster(start);
  return Promise.race([cluster.allEnded, stopRequested().then(() => cluster.stop())]);
}

class RunningCluster {
  /** Resolves when the last node has ended without being asked to. */
  readonly allEnded: Promise<ExitCode>;
  readonly #processes: NodeProcess[];
  readonly #screen: Screen;
  #onAllEnded: () => void = () => undefined;
  #announced = false;
  #stopping = false;

  constructor(start: ClusterStart) {
    this.#screen = new Screen(start);
    this.allEnded = new Promise((resolve) => {
      this.#onAllEnded = () => resolve(this.#stopping ? ExitCode.DONE : ExitCode.REFUSED);
    });
    this.#processes = start.plans.map((plan) => this.#startOne(plan));
  }

  async stop(): Promise<ExitCode> {
    this.#stopping = true;
    for (const process of this.#processes) process.signal('SIGTERM');
    const timer = new SystemClock().setTimer(STOP_MS, () => this.#killRest());
    await this.allEnded;
    timer.cancel();
    return ExitCode.DONE;
  }

  #startOne(plan: NodePlan): NodeProcess {
    return new NodeProcess(plan, {
      onReady: () => this.#announceIfReady(),
      onLine: (line) => this.#screen.line(plan.node.name, line),
      onEnd: (end) => this.#onEnd(plan, end),
    });
  }

  #onEnd(plan: NodePlan, end: NodeEnd): void {
    if (!this.#stopping) this.#screen.ended(plan, end);
    if (this.#processes.every((process) => process.ended)) this.#onAllEnded();
    else this.#announceIfReady();
  }

  /** Once: when every node that did not fail is ready. */
  #announceIfReady(): void {
    const living = this.#processes.filter((process) => !process.ended);
    if (this.#announced || this.#stopping || !living.every((process) => process.ready)) return;
    this.#announced = true;
    this.#screen.ready(living, living[0]!.leader);
  }

  #killRest(): void {
    for (const one of this.#processes.filter((process) => !process.ended)) {
      this.#screen.line(one.plan.node.name, `still running after ${STOP_MS / 1_000} s: killed`);
      one.signal('SIGKILL');
    }
  }
}

const COLOURS = [36, 33, 35, 32, 34, 31];

/** What whoever started the cluster sees of it. */
class Screen {
  readonly #start: ClusterStart;
  readonly #names: string[];
  readonly #out: NodeJS.WriteStream;

  constructor(start: ClusterStart) {
    this.#start = start;
    this.#names = start.plans.map(({ node }) => node.name);
    this.#out = start.json ? process.stderr : process.stdout;
  }

  line(name: string, line: string): void {
    const width = Math.max(...this.#names.map(({ length }) => length));
    const colour = COLOURS[this.#names.indexOf(name) % COLOURS.length];
    const prefix = `${name.padEnd(width)} |`;
    this.#out.write(`${this.#out.isTTY ? `\u001b[${colour}m${prefix}\u001b[0m` : prefix} ${line}\n`);
  }

  ready(processes: readonly NodeProcess[], leader: string): void {
    const { cluster } = this.#start.config;
    const plans = processes.map(({ plan, pid }) => ({ ...plan, pid }));
    if (this.#start.json) this.#event(readyJson(cluster, plans, leader));
    else this.#out.write(welcome(cluster, plans, leader));
  }

  ended(plan: NodePlan, { code, signal }: NodeEnd): void {
    const command = startCommand(plan);
    if (this.#start.json) {
      this.#event({ event: 'node_ended', name: plan.node.name, code, signal, restart: command });
      return;
    }
    const how = signal === null ? `exit code ${code}` : signal;
    this.line(plan.node.name, `ended (${how}). Start it again with: ${command}`);
  }

  #event(event: unknown): void {
    process.stdout.write(`${JSON.stringify(event)}\n`);
  }
}
