/** Any language: a client generated from the contracts, and one that has only reflection. */
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RealNode } from '../process/real-node.ts';
import { describeWith, pathOf, protoc, python, pythonPlugin, reflectionProtos } from './installed-tools.ts';
import { output } from './run-program.ts';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const PROTO = fileURLToPath(new URL('../../proto/', import.meta.url));

let node: RealNode;
const directories: string[] = [];

async function generated(root: string, files: readonly string[]): Promise<string> {
  const out = mkdtempSync(join(tmpdir(), 'holdfast-python-'));
  directories.push(out);
  const plugin = `--plugin=protoc-gen-grpc_python=${pathOf(pythonPlugin)}`;
  await output(pathOf(protoc), [
    `-I${root}`,
    plugin,
    `--python_out=${out}`,
    `--grpc_python_out=${out}`,
    ...files,
  ]);
  return out;
}

async function runCase(script: string, args: readonly string[]): Promise<void> {
  const env = { PYTHONDONTWRITEBYTECODE: '1' };
  expect(await output(pathOf(python), [join(HERE, script), ...args], { env })).toBe('');
}

function withNode(): void {
  beforeAll(async () => {
    node = await RealNode.start();
  });
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
    for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
  });
}

describeWith([python, protoc, pythonPlugin], 'a generated Python client', () => {
  withNode();
  let out: string;
  beforeAll(async () => {
    const files = globSync(['holdfast/{kv,error}/**/*.proto', 'google/rpc/*.proto'], { cwd: PROTO });
    out = await generated(PROTO, files);
  });

  it.each([
    'put_and_get',
    'create_only',
    'compare_and_set',
    'increment',
    'scan',
    'batch',
    'delete',
    'error_details',
    'applied_once',
    'pipeline',
    'keyspaces',
  ])('%s', async (name) => runCase('kv_client.py', [out, node.grpc, name]));
});

describeWith([python, protoc, pythonPlugin], 'a generated Python client of the coordination', () => {
  withNode();
  let out: string;
  beforeAll(async () => {
    const files = globSync(
      ['holdfast/{config,election,error,id,kv,lease,lock}/**/*.proto', 'google/rpc/*.proto'],
      { cwd: PROTO },
    );
    out = await generated(PROTO, files);
  });

  it.each([
    'put_and_get',
    'list_keys',
    'transact',
    'applied_once',
    'watch',
    'watch_compacted',
    'lease',
    'lease_ends',
    'lock',
    'lock_modes',
    'election',
    'unique_ids',
    'error_details',
  ])('%s', async (name) => runCase('coordination.py', [out, node.grpc, name]));
});

describeWith([python, protoc, pythonPlugin, reflectionProtos], 'reflection', () => {
  withNode();
  let out: string;
  beforeAll(async () => {
    const root = pathOf(reflectionProtos);
    out = await generated(root, globSync('grpc/reflection/{v1,v1alpha}/*.proto', { cwd: root }));
  });

  const cases = [
    'services',
    'optional_fields',
    'map_fields',
    'put_and_get',
    'health',
    'by_file_and_member',
    'what_is_not_there',
  ];
  it.each(['v1', 'v1alpha'].flatMap((version) => cases.map((name) => [version, name] as const)))(
    '%s: %s',
    async (version, name) => runCase('reflection_client.py', [out, node.grpc, version, name]),
  );
});
