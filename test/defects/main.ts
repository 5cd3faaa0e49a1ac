/**
 * `npm run defects` loads the code with each deliberate bug in turn and reports whether the
 * recorded check notices it, on which seed; `-- --core` and `-- --world` do it for those of
 * the Raft core, and of what is around it, alone, `-- NAME` for one. `-- --search 200 NAME`
 * looks for evidence anew, in so many seeds; in worlds of `--nodes N` with `--faults A,B`
 * where they are given. Ends with 1 when a defect goes unnoticed.
 */
import { parseArgs } from 'node:util';
import { CORE_DEFECTS } from './core-defects.ts';
import { acquittal, search, searchWorlds, shownEvidence, worldAcquittal } from './judge.ts';
import type { WorldEvidence } from './world-defect.ts';
import { WORLD_DEFECTS } from './world-defects.ts';

const { values, positionals } = parseArgs({
  options: {
    search: { type: 'string' },
    core: { type: 'boolean', default: false },
    world: { type: 'boolean', default: false },
    nodes: { type: 'string' },
    faults: { type: 'string' },
  },
  allowPositionals: true,
});
const isChosen = ({ name }: { name: string }) => positionals.length === 0 || positionals.includes(name);
const coreDefects = values.world ? [] : CORE_DEFECTS.filter(isChosen);
const worldDefects = values.core ? [] : WORLD_DEFECTS.filter(isChosen);
const seeds = Number(values.search);

if (values.search === undefined) {
  for (const defect of coreDefects) report(defect.name, shownEvidence(defect), await acquittal(defect));
  for (const defect of worldDefects) report(defect.name, shownEvidence(defect), await worldAcquittal(defect));
} else {
  for (const defect of coreDefects) console.log(`${defect.name}: ${await search(defect, seeds)}`);
  for (const defect of worldDefects)
    console.log(`${defect.name}: ${await searchWorlds(defect, seeds, place(defect.caughtBy))}`);
}

function report(name: string, by: string, instead: string | undefined): void {
  console.log(instead === undefined ? `caught  ${name}: ${by}` : `MISSED  ${name}: ${by}; ${instead}`);
  if (instead !== undefined) process.exitCode = 1;
}

/** Where to search: as it was found before, if nothing else is said. */
function place({ nodes, faults, coordination, broker, rig }: WorldEvidence) {
  return {
    broker,
    coordination,
    rig,
    nodes: values.nodes === undefined ? nodes : Number(values.nodes),
    faults: values.faults?.split(',') ?? faults,
  };
}
