import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../node/main/main.ts', import.meta.url));

/** What a finished command left. */
export interface Finished {
  code: number | null;
  stdout: Buffer;
  stderr: string;
}

/** Options of a command's process. */
export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  input?: string | Uint8Array;
}

/** Runs `holdfast …` from source in a process of its own. */
export function runHoldfast(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const { HOLDFAST_ENDPOINTS: _, ...inherited } = process.env;
  const child = spawn(process.execPath, ['--conditions=holdfast-source', MAIN, ...args], {
    cwd: options.cwd ?? tmpdir(),
    env: { ...inherited, ...options.env },
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) =>
      resolve({ code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() }),
    );
  });
}

/** A directory that holds these files and goes away with the block. */
export function temporaryDirectory(files: Record<string, string> = {}) {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-'));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(path, name), content);
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
