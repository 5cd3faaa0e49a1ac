/**
 * `npm run defects` loads the code with each deliberate bug in turn and reports whether the
 * recorded check notices it. `npm run defects -- --search 200 [NAME]` looks for evidence
 * anew, through all scenarios and so many seeds. Ends with 1 when a defect goes unnoticed.
 * `npm run defects -- --world [NAME]` does it with whole worlds, which takes minutes.
 */
import { parseArgs } from 'node:util';
import { CORE_DEFECTS } from './core-defects.ts';
import { acquittal, noticingWorld, search } from './judge.ts';
import { WORLD_DEFECTS } from './world-defects.ts';

/** Worlds that have to be enough. */
const WORLDS = 100;

const { values, positionals } = parseArgs({
  options: { search: { type: 'string' }, world: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const isChosen = ({ name }: { name: string }) => positionals.length === 0 || positionals.includes(name);
for (const defect of values.world ? WORLD_DEFECTS.filter(isChosen) : []) {
  const by = await noticingWorld(defect, WORLDS);
  console.log(by === undefined ? `MISSED  ${defect.name}` : `caught  ${defect.name}: ${by}`);
  if (by === undefined) process.exitCode = 1;
}
for (const defect of values.world ? [] : CORE_DEFECTS.filter(isChosen)) {
  const { name, caughtBy } = defect;
  if (values.search !== undefined) {
    console.log(`${name}: ${await search(defect, Number(values.search))}`);
    continue;
  }
  const by = 'seed' in caughtBy ? `${caughtBy.checker}, seed ${caughtBy.seed}` : caughtBy.transcript;
  const instead = await acquittal(defect);
  console.log(instead === undefined ? `caught  ${name}: ${by}` : `MISSED  ${name}: ${by}; ${instead}`);
  if (instead !== undefined) process.exitCode = 1;
}
