// Makes `npm pack` of the client one self-contained tarball. npm bundles what stands in
// this package's own node_modules, but in a workspace @holdfast/proto is a link at the
// root, which it would leave out; so a real copy is put there while packing.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const client = fileURLToPath(new URL('.', import.meta.url));
const proto = fileURLToPath(new URL('../proto/', import.meta.url));
const copy = `${client}node_modules/@holdfast/proto/`;

function place() {
  remove();
  mkdirSync(copy, { recursive: true });
  cpSync(`${proto}gen`, `${copy}gen`, { recursive: true });
  const { name, version, license, type, exports } = JSON.parse(readFileSync(`${proto}package.json`, 'utf8'));
  // Without dependencies of its own: it uses the @bufbuild/protobuf of the client.
  const manifest = { name, version, license, type, exports, files: ['gen'] };
  writeFileSync(`${copy}package.json`, `${JSON.stringify(manifest, null, 2)}\n`);
}

function remove() {
  rmSync(`${client}node_modules/@holdfast`, { recursive: true, force: true });
}

if (process.argv[2] === 'place') place();
else if (process.argv[2] === 'remove') remove();
else throw new Error('usage: node pack.mjs place|remove');
