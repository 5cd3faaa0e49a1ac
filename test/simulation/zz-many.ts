import { play } from './world/play.ts';
const [from, count] = process.argv.slice(2).map(Number) as [number, number];
let failed = 0;
const work = new Map<string, number>();
const t0 = performance.now();
for (let seed = from; seed < from + count; seed++) {
  try {
    const p: any = await play(String(seed), { coordination: false, broker: true });
    if (p.failure ?? p.error) throw p.failure ?? p.error;
    const r = p.report ?? p;
    for (const [k, v] of Object.entries(r.work as Record<string, number>))
      work.set(k, (work.get(k) ?? 0) + v);
  } catch (error: any) {
    failed++;
    console.log(seed, String(error.message ?? error).slice(0, 600));
  }
}
console.log(
  `${count} seeds, ${failed} failed, ${Math.round(performance.now() - t0)} ms`,
  JSON.stringify([...work].filter(([k]) => !k.startsWith('x'))),
);
