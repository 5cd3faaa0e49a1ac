/** A script that says `begun`, runs until its standard input ends, and then says in a line of JSON what it did. */
import { type ChildProcess, spawn } from 'node:child_process';
import { expect } from 'vitest';
import { until, within } from '../process/real-node.ts';

export class RunningScript<Report> implements Disposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #stdout = '';
  #stderr = '';

  constructor(program: string, args: readonly string[]) {
    this.#child = spawn(program, args, { env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' } });
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.#stdout += text));
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    this.#child.stdin!.on('error', () => undefined);
    this.#ended = new Promise((resolve, reject) => {
      this.#child.on('error', reject);
      this.#child.on('close', resolve);
    });
  }

  begun(): Promise<void> {
    return until(
      () => this.#stdout.includes('begun') || this.#child.exitCode !== null,
      30_000,
      () => this.#stderr,
    );
  }

  async end(): Promise<Report> {
    this.#child.stdin!.end();
    const code = await within(this.#ended, 90_000, () => `the script does not end: ${this.#stderr}`);
    expect(code, this.#stderr).toBe(0);
    return JSON.parse(this.#stdout.trim().split('\n').at(-1)!) as Report;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}
