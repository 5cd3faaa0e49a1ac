/** The first session of README.md, as it stands there, against a fresh node. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RealNode } from '../process/real-node.ts';
import { bash, curl, describeWith, pathOf, protoc, python, pythonPlugin } from './installed-tools.ts';
import { readmeBlock, ROOT, withoutVersions } from './readme-blocks.ts';
import { output } from './run-program.ts';

let node: RealNode;
let directory: string;
beforeAll(async () => {
  node = await RealNode.start();
  directory = mkdtempSync(join(tmpdir(), 'holdfast-readme-'));
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

/** The same commands, for a node that listens elsewhere. */
function addressed(text: string): string {
  return text.replaceAll('127.0.0.1:7501', node.http).replaceAll('127.0.0.1:7401', node.grpc);
}

async function runShell(script: string, cwd: string, env: Record<string, string> = {}): Promise<string> {
  const path = `${join(ROOT, 'node_modules/.bin')}:${process.env['PATH']}`;
  const options = { cwd, env: { PATH: path, HOLDFAST_ENDPOINTS: node.grpc, ...env } };
  return output(pathOf(bash), ['-euo', 'pipefail', '-c', addressed(script)], options);
}

async function runTypeScript(name: string, text: string): Promise<string> {
  // Below the root, where the client is found as in a checkout.
  const file = join(ROOT, 'node_modules', `.${name}-${process.pid}.mts`);
  writeFileSync(file, text);
  try {
    return await runShell(`npx tsx ${file}`, ROOT);
  } finally {
    rmSync(file);
  }
}

/** Runs a block that shows what it prints, and compares. */
async function expectBlock(language: string, name: string, run: (text: string) => Promise<string>) {
  const printed = await run(readmeBlock(language, name));
  expect(withoutVersions(printed)).toBe(withoutVersions(readmeBlock('text', name)));
}

// In the order of the page: each block finds what those before it wrote.
describeWith([bash, curl], 'the first session of README.md', () => {
  it('on the command line', () => expectBlock('sh', 'command-line', (text) => runShell(text, ROOT)));

  it('with curl', () => expectBlock('sh', 'curl', (text) => runShell(text, ROOT)));

  it('in TypeScript', () => expectBlock('ts', 'first.mts', (text) => runTypeScript('first', text)));

  it('coordinates on the command line', () =>
    expectBlock('sh', 'coordination', (text) => runShell(text, ROOT)));

  it('coordinates in TypeScript', () =>
    expectBlock('ts', 'coordination.mts', (text) => runTypeScript('coordination', text)));

  it('sends records through a topic on the command line', () =>
    expectBlock('sh', 'topics', (text) => runShell(text, ROOT)));

  it('sends records through a topic in TypeScript', () =>
    expectBlock('ts', 'topics.mts', (text) => runTypeScript('topics', text)));

  it('coordinates with curl', () => expectBlock('sh', 'coordination-curl', (text) => runShell(text, ROOT)));
});

describeWith([bash, python, protoc, pythonPlugin], 'the first session of README.md in Python', () => {
  it('with a client made as it says', async () => {
    symlinkSync(join(ROOT, 'proto'), join(directory, 'proto'));
    const tools = join(directory, 'bin');
    mkdirSync(tools);
    symlinkSync(pathOf(python), join(tools, 'python3'));
    const env = { PATH: `${tools}:${process.env['PATH']}`, PYTHONPATH: 'made' };
    await runShell(readmeBlock('sh', 'python'), directory, env);
    await expectBlock('python', 'first.py', async (text) => {
      writeFileSync(join(directory, 'first.py'), addressed(text));
      return runShell('python3 first.py', directory, env);
    });
  });
});
