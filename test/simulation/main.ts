/**
 * `npm run sim -- --seed S [--nodes N] [--faults A,B] [--without-coordination] [--broker] [--gossip] [--trace]`
 * plays one seed of the world and reports what it did. With `--faults` there are these kinds and
 * no others.
 */
import { parseArgs } from 'node:util';
import { FAULT_KINDS, unknownKinds } from './world/nemesis.ts';
import { play } from './world/play.ts';
import { ReportSum } from './world/report.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    nodes: { type: 'string' },
    faults: { type: 'string' },
    trace: { type: 'boolean', default: false },
    'without-coordination': { type: 'boolean', default: false },
    broker: { type: 'boolean', default: false },
    gossip: { type: 'boolean', default: false },
  },
});
if (values.seed === undefined) {
  fail('usage: npm run sim -- --seed S [--nodes N] [--faults A,B] [--trace]');
}
const faults = values.faults?.split(',');
const unknown = unknownKinds(faults ?? []);
if (unknown.length > 0) {
  fail(
    `there is no fault ${unknown.join(', ')}; there are ${FAULT_KINDS.map(({ name }) => name).join(', ')}`,
  );
}
const startedMs = performance.now();
const played = await play(values.seed, {
  nodes: values.nodes === undefined ? undefined : Number(values.nodes),
  faults,
  coordination: !values['without-coordination'],
  broker: values.broker,
  gossip: values.gossip,
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

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}
