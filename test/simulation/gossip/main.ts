/**
 * `npm run gossip-figures [-- --seeds 5] [--figures FOLDER]` simulates clusters of 3 to 200 nodes
 * and prints the tables of node/docs/gossip.md; with `--figures` it writes the plots there, too.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Convergence, measure, summary } from './convergence.ts';
import { growthPlot, type Line } from './growth-plot.ts';
import { measureStalls } from './stalls.ts';

const SIZES = [3, 5, 10, 20, 50, 100, 200];

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '5' }, figures: { type: 'string' } },
});
const seeds = Array.from({ length: Number(values.seeds) }, (_, seed) => seed);

const all = SIZES.map((nodes) => seeds.map((seed) => measure(nodes, seed)));
const median = all.map((runs) => summary(runs, 'median'));
const worst = all.map((runs) => summary(runs, 'worst'));

console.log(`Median of ${seeds.length} runs, and in brackets the worst.\n`);
table(
  ['nodes', 'join, rounds', 'leave, rounds', 'suspected after, s', 'dead after, s', 'all know after, s'],
  (at) => [
    both(at, 'joinRounds', 1),
    both(at, 'leaveRounds', 1),
    both(at, 'suspectedMs', 1, 1_000),
    both(at, 'deadMs', 1, 1_000),
    both(at, 'allKnowMs', 1, 1_000),
  ],
);
table(
  ['nodes', 'messages/s at rest', 'bytes/s at rest', 'messages/s after a crash', 'bytes/s after a crash'],
  (at) => [
    `${fixed(median[at]!.meanMessages, 2)} (${fixed(worst[at]!.restMessages, 2)})`,
    `${fixed(median[at]!.meanBytes, 0)} (${fixed(worst[at]!.restBytes, 0)})`,
    both(at, 'crashMessages', 1),
    both(at, 'crashBytes', 0),
  ],
);
console.log('100 s of 100 seeds each; one node stands still for 2 s in every 10, 5% of messages are lost.\n');
console.log(
  '| nodes | others suspected | others dead | itself suspected | itself dead |\n|---|---|---|---|---|',
);
for (const nodes of [3, 5, 10, 30]) {
  const { othersSuspected, othersDead, ownSuspected, ownDead } = measureStalls(nodes, 100, 0.05);
  console.log(`| ${nodes} | ${othersSuspected} | ${othersDead} | ${ownSuspected} | ${ownDead} |`);
}
if (values.figures !== undefined) writeFigures(values.figures);

function table(heads: readonly string[], cells: (at: number) => readonly string[]): void {
  console.log(`| ${heads.join(' | ')} |\n|${heads.map(() => '---|').join('')}`);
  for (const at of SIZES.keys()) console.log(`| ${[SIZES[at], ...cells(at)].join(' | ')} |`);
  console.log();
}

function both(at: number, key: keyof Convergence, digits: number, unit = 1): string {
  return `${fixed(median[at]![key] / unit, digits)} (${fixed(worst[at]![key] / unit, digits)})`;
}

function fixed(value: number, digits: number): string {
  return value.toFixed(digits);
}

function writeFigures(folder: string): void {
  const line = (name: string, key: keyof Convergence, unit = 1): Line => ({
    name,
    points: median.map((one) => [one.nodes, one[key] / unit]),
  });
  const logarithm: Line = { name: 'log2 n', points: SIZES.map((nodes) => [nodes, Math.log2(nodes)]) };
  const plots = {
    'gossip-rounds.svg': growthPlot('Until everybody knows of who came or left', 'rounds of 200 ms', [
      line('join', 'joinRounds'),
      line('leave', 'leaveRounds'),
      logarithm,
    ]),
    'gossip-crash.svg': growthPlot('From a crash', 'seconds', [
      line('suspected', 'suspectedMs', 1_000),
      line('dead', 'deadMs', 1_000),
      line('all know', 'allKnowMs', 1_000),
    ]),
    'gossip-load.svg': growthPlot('What a node sends in a second', 'messages', [
      line('at rest', 'meanMessages'),
      line('after a crash', 'crashMessages'),
    ]),
    'gossip-bytes.svg': growthPlot('What a node sends in a second', 'bytes', [
      line('at rest', 'meanBytes'),
      line('after a crash', 'crashBytes'),
    ]),
  };
  for (const [name, svg] of Object.entries(plots)) writeFileSync(join(folder, name), svg);
}
