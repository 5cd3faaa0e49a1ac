/**
 * `npm run defects` loads the code with each deliberate bug in turn and reports whether the
 * recorded check notices it. `npm run defects -- --search 200 [NAME]` looks for evidence
 * anew, through all scenarios and so many seeds. Ends with 1 when a defect goes unnoticed.
 */
import { parseArgs } from 'node:util';
import { CORE_DEFECTS } from './core-defects.ts';
import { acquittal, search } from './judge.ts';

const { values, positionals } = parseArgs({
  options: { search: { type: 'string' } },
  allowPositionals: true,
});
const chosen = CORE_DEFECTS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
for (const defect of chosen) {
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
