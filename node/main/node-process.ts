import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { NodePlan } from './start-plan.ts';

/** How the process of a node ended. */
export interface NodeEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** What the process of a node tells. */
export interface NodeProcessEvents {
  onReady(): void;
  onLine(line: string): void;
  /** Once, after the last line. */
  onEnd(end: NodeEnd): void;
}

/** A node in a process of its own: no shell and no wrapper between. */
export class NodeProcess {
  readonly plan: NodePlan;
  readonly #child: ChildProcess;
  #ready = false;
  #leader = '';
  #ended = false;

  constructor(plan: NodePlan, events: NodeProcessEvents) {
    this.plan = plan;
    this.#child = spawn(process.execPath, [...process.execArgv, plan.main, ...plan.args], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.#child.on('message', (message) => {
      // Development tools use the channel as well.
      const leader = leaderIn(message);
      if (leader === undefined || this.#ready) return;
      this.#ready = true;
      this.#leader = leader;
      events.onReady();
    });
    eachLine(this.#child.stdout!, events.onLine);
    eachLine(this.#child.stderr!, events.onLine);
    this.#child.on('error', (error) => this.#failed(error, events));
    this.#child.on('close', (code, signal) => this.#onClose({ code, signal }, events));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get ready(): boolean {
    return this.#ready;
  }

  /** Who led the cluster when the node was ready. */
  get leader(): string {
    return this.#leader;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Sends a signal; does nothing when the process is gone. */
  signal(signal: NodeJS.Signals): void {
    if (!this.#ended) this.#child.kill(signal);
  }

  #failed(error: Error, events: NodeProcessEvents): void {
    events.onLine(`the process cannot be started: ${error.message}`);
    if (this.#child.pid === undefined) this.#onClose({ code: null, signal: null }, events);
  }

  #onClose(end: NodeEnd, events: NodeProcessEvents): void {
    if (this.#ended) return;
    this.#ended = true;
    events.onEnd(end);
  }
}

/** The leader that a node names when it is ready; undefined: it says something else. */
function leaderIn(message: unknown): string | undefined {
  const { event, leader } = (message ?? {}) as { event?: unknown; leader?: unknown };
  return event === 'ready' && typeof leader === 'string' ? leader : undefined;
}

const LONGEST_LINE = 65_536;

function eachLine(stream: Readable, onLine: (line: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    lines.forEach(onLine);
    if (rest.length < LONGEST_LINE) return;
    onLine(rest);
    rest = '';
  });
  stream.on('end', () => {
    if (rest !== '') onLine(rest);
  });
}
