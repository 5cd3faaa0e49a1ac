/**
 * The house rules on imports: `proto` ← `client` ← `node`, and inside `node` downward
 * only. A folder may import from itself and from those after it.
 */
import { readFileSync } from 'node:fs';
import { globSync } from 'node:fs';
import { dirname, join, normalize, sep } from 'node:path';

/** From the top of the house to the ground; folders of one floor do not import each other. */
const FLOORS: readonly (readonly string[])[] = [
  ['main'],
  ['transport'],
  ['services'],
  ['kv', 'coordination', 'ids', 'broker'],
  ['cluster'],
  ['raft'],
  ['storage'],
  ['runtime'],
];
/** May be imported from main alone. */
const BESIDE = new Set(['observe']);
/** Of the client, what may know grpc-js. */
const GRPC_FILES = new Set(['grpc-transport.ts', 'client-tls.ts']);
/** Pure: whatever they need comes in through their inputs. */
const CORES = [join('node', 'raft', 'core', sep), join('node', 'cluster', 'gossip', sep)];
const GRPC_FREE = /^@grpc\/|^@connectrpc\//;

/** What breaks the rules, a line each. */
export function brokenImports(root: string): string[] {
  const files = globSync('{client,node}/**/*.ts', {
    cwd: root,
    exclude: (path) => /node_modules|dist/.test(path),
  });
  return files.flatMap((file) =>
    importsOf(join(root, file)).flatMap((target) => problem(file, target) ?? []),
  );
}

function importsOf(path: string): string[] {
  const source = readFileSync(path, 'utf8');
  return [...source.matchAll(/(?:\bfrom|\bimport\()\s*'([^']+)'/g)].map((match) => match[1]!);
}

function problem(file: string, target: string): string | undefined {
  const parts = file.split(sep);
  const folder = parts.length > 2 ? parts[1]! : '';
  if (parts[0] === 'client') {
    if (target.startsWith('@holdfast/node')) return `${file}: client imports node`;
    if (target.startsWith('.') && normalize(join(dirname(file), target)).startsWith('..'))
      return `${file}: ${target} leaves client/`;
    if (GRPC_FREE.test(target) && !GRPC_FILES.has(parts[1]!))
      return `${file}: only grpc-transport.ts and client-tls.ts may import ${target}`;
    return undefined;
  }
  if (GRPC_FREE.test(target) || target === 'grpc-health-check') {
    return folder === 'transport' || folder === 'main'
      ? undefined
      : `${file}: only transport/ may import ${target}`;
  }
  const core = CORES.find((one) => file.startsWith(one));
  if (!target.startsWith('.')) {
    return core === undefined ? undefined : `${file}: the core imports nothing but itself`;
  }
  const to = normalize(join(dirname(file), target)).split(sep);
  if (core !== undefined && !to.join(sep).startsWith(core))
    return `${file}: the core imports nothing but itself`;
  if (to[0] !== 'node') return `${file}: ${target} leaves node/`;
  return downward(folder, to[1]!) ? undefined : `${file}: ${folder}/ may not import ${to[1]}/`;
}

function downward(from: string, to: string): boolean {
  if (from === to) return true;
  if (BESIDE.has(to)) return from === 'main';
  if (BESIDE.has(from)) return to === 'runtime';
  const floor = (folder: string) => FLOORS.findIndex((folders) => folders.includes(folder));
  return floor(from) >= 0 && floor(to) > floor(from);
}

const root = new URL('../..', import.meta.url).pathname;
const broken = brokenImports(root);
for (const line of broken) console.error(line);
process.exitCode = broken.length > 0 ? 1 : 0;
