/**
 * `npm run sim -- --seed S [--trace] [--nodes N]` plays one seed and reports what it did.
 * `npm run soak -- --minutes M --kind sim [--seed-from X] [--workers W]`: see soak.ts.
 */
import { parseArgs } from 'node:util';
import { ReportSum } from './world/report.ts';
import { World } from './world/world.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    nodes: { type: 'string' },
    trace: { type: 'boolean', default: false },
  },
});
if (values.seed === undefined) {
  console.error('usage: npm run sim -- --seed S [--nodes N] [--trace]');
  process.exit(2);
}
const startedMs = performance.now();
const world = new World(values.seed, {
  nodes: values.nodes === undefined ? undefined : Number(values.nodes),
  print: values.trace ? (line) => console.log(line) : undefined,
});
try {
  const report = await world.run();
  const sum = new ReportSum();
  sum.add(report);
  console.log(sum.text());
  console.log(`trace hash ${report.traceHash}, ${Math.round(performance.now() - startedMs)} ms`);
} catch (error) {
  console.error(`at ${world.scheduler.nowMs().toFixed(3)} ms: ${(error as Error).stack}`);
  process.exitCode = 1;
}
