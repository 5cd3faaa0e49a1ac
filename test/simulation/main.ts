/** `npm run sim -- --seed S [--nodes N] [--trace]` plays one seed of the world and reports what it did. */
import { parseArgs } from 'node:util';
import { play } from './world/play.ts';
import { ReportSum } from './world/report.ts';

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
const played = await play(values.seed, {
  nodes: values.nodes === undefined ? undefined : Number(values.nodes),
  print: values.trace ? (line) => console.log(line) : undefined,
});
if ('error' in played) {
  console.error(`seed ${values.seed} failed at ${played.atMs.toFixed(3)} ms: ${played.error.stack}`);
  process.exitCode = 1;
} else {
  const sum = new ReportSum();
  sum.add(played.report);
  console.log(sum.text());
  const tookMs = Math.round(performance.now() - startedMs);
  console.log(`trace hash ${played.report.traceHash}, ${tookMs} ms of real time`);
}
