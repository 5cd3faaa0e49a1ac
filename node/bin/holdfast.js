#!/usr/bin/env node
import { existsSync } from 'node:fs';

const compiled = new URL('../dist/main/main.js', import.meta.url);
// The same, put into a few files that load faster (bundle.mjs). Nodes run from the plain ones.
const bundled = new URL('../dist/cli/main.js', import.meta.url);

if (!existsSync(compiled)) {
  process.stderr.write('holdfast is not built yet: run `npm run build`.\n');
  process.exit(1);
}
const main = process.argv[2] !== 'start' && existsSync(bundled) ? bundled : compiled;
await import(main.href);
