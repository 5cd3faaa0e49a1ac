// Puts the CLI into a few files after compilation. A short command is done in less time
// than Node.js needs to find and load the 400 modules that it would otherwise consist of.
import { build } from 'esbuild';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
rmSync(`${dist}cli`, { recursive: true, force: true });
await build({
  entryPoints: [`${dist}main/main.js`],
  outdir: `${dist}cli`,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  minifySyntax: true,
  minifyWhitespace: true,
  // Nodes run from the plain files: nothing is gained there, and stack traces stay readable.
  external: ['./start.js'],
  banner: {
    js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
