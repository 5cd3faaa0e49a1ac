/** The client as applications get it: packed, installed in an empty project, run on Node.js 20. */
import {
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RealNode } from '../process/real-node.ts';
import { describeWith, onPath, type Tool } from './installed-tools.ts';
import { readmeBlock, ROOT } from './readme-blocks.ts';
import { output } from './run-program.ts';

/** The oldest Node.js that the client promises to run on, outside of this repository's own. */
const node20 = foundNode20();
const npm = onPath('npm').find((path) => !path.startsWith(ROOT));
const MINUTES = 60_000;

/** Everything that this file makes; made anew, so that it can be removed whole. */
const workplace = mkdtempSync(join(tmpdir(), 'holdfast-pack-'));
const project = join(workplace, 'empty');
let node: RealNode;

function foundNode20(): Tool {
  const asked = process.env['NODE20'];
  const candidates = [...(asked === undefined ? [] : [asked]), ...onPath('node')];
  const path = candidates.find((one) => spawnSync(one, ['--version']).stdout?.toString().startsWith('v20.'));
  return path === undefined ? { missing: 'no Node.js 20 on PATH or in NODE20' } : { path };
}

/** A tool of the machine's Node.js 20, with that first on PATH. */
function run(command: string, args: readonly string[], cwd: string): Promise<string> {
  const { path } = node20 as { path: string };
  const env = {
    PATH: `${dirname(path)}${delimiter}${process.env['PATH']}`,
    npm_config_update_notifier: 'false',
    HOLDFAST_ENDPOINTS: node.grpc,
  };
  return output(command, args, { cwd, env });
}

/**
 * Packs a copy of the client: packing puts a copy of the contracts into the folder, and
 * tests that run at the same time must not find it there.
 */
async function packed(): Promise<string> {
  const copy = join(workplace, 'repository');
  mkdirSync(copy);
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  for (const name of ['client', 'proto', 'tsconfig.json']) {
    const filter = (path: string) => !path.includes('node_modules');
    cpSync(join(ROOT, name), join(copy, name), { recursive: true, filter });
  }
  await output(npm!, ['pack', '--pack-destination', workplace], { cwd: join(copy, 'client') });
  return join(workplace, 'holdfast-client-0.1.0.tgz');
}

afterAll(() => rmSync(workplace, { recursive: true, force: true }));

describeWith([node20], 'the packed client on Node.js 20', () => {
  beforeAll(async () => {
    node = await RealNode.start();
    const tarball = await packed();
    mkdirSync(project);
    await run(npm!, ['init', '--yes'], project);
    await run(npm!, ['install', '--no-audit', '--no-fund', tarball], project);
  }, 4 * MINUTES);
  afterAll(() => node?.[Symbol.asyncDispose]());

  it('brings no native addon and runs nothing when installed', () => {
    expect(globSync('node_modules/**/*.node', { cwd: project })).toEqual([]);
    const lock = JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { hasInstallScript?: boolean }>;
    };
    // protobufjs, below grpc-js, has one that only prints a notice about versions.
    const scripts = Object.entries(lock.packages).filter(([, { hasInstallScript }]) => hasInstallScript);
    expect(scripts.map(([name]) => name)).toEqual(['node_modules/protobufjs']);
    expect(globSync('node_modules/@holdfast/*', { cwd: project })).toEqual(['node_modules/@holdfast/client']);
  });

  it(
    "runs the README's snippet",
    async () => {
      const { devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
        devDependencies: Record<string, string>;
      };
      const tools = ['tsx', '@types/node'].map((name) => `${name}@${devDependencies[name]}`);
      await run(npm!, ['install', '--no-audit', '--no-fund', ...tools], project);
      writeFileSync(join(project, 'first.mts'), readmeBlock('ts', 'first.mts'));
      const { path } = node20 as { path: string };
      expect(await run(path, ['--version'], project)).toMatch(/^v20\./);
      const printed = await run(path, ['node_modules/.bin/tsx', 'first.mts'], project);
      expect(printed.split('\n')[0]).toBe("{ name: 'Grace' }");
      expect(printed).toContain('someone was first: NOT_APPLIED');
    },
    4 * MINUTES,
  );

  it('has types that a strict project accepts', async () => {
    const options = ['--strict', '--noEmit', '--skipLibCheck', '--module', 'nodenext', '--target', 'es2024'];
    const libraries = ['--lib', 'es2024,esnext.disposable', '--types', 'node'];
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    await output(process.execPath, [tsc, ...options, ...libraries, 'first.mts'], { cwd: project });
  });
});
