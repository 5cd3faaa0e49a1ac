import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { until } from '../process/real-node.ts';

const MAIN = fileURLToPath(new URL('../../node/main/main.ts', import.meta.url));
const PATIENCE_MS = 30_000;

/** `holdfast …` from source that goes on; what it prints comes line by line. */
export class RunningHoldfast implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  readonly errors: string[] = [];
  readonly ended: Promise<number | null>;

  constructor(endpoints: string, ...args: string[]) {
    this.child = spawn(process.execPath, ['--conditions=holdfast-source', MAIN, ...args], {
      env: { ...process.env, HOLDFAST_ENDPOINTS: endpoints },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    gather(this.child.stdout!, this.lines);
    gather(this.child.stderr!, this.errors);
    this.ended = new Promise((resolve) => this.child.once('close', resolve));
  }

  /** Resolves when a line of it contains the text. */
  said(text: string): Promise<void> {
    const all = () => [...this.lines, ...this.errors];
    return until(
      async () => all().some((line) => line.includes(text)),
      PATIENCE_MS,
      () => `${JSON.stringify(text)} in ${JSON.stringify(all())}`,
    );
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.child.kill(signal);
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.end('SIGTERM');
  }
}

function gather(stream: NodeJS.ReadableStream, into: string[]): void {
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split('\n');
    rest = parts.pop()!;
    into.push(...parts);
  });
}
