/** The bench itself: its lines, and that what it measures is what the node says it did. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const MAIN = new URL('../../bench/main.ts', import.meta.url).pathname;

/** Runs the bench; its JSON lines and what it said besides. */
function bench<T = Line>(
  args: readonly string[],
  path = process.env['PATH'],
): Promise<{ lines: T[]; said: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--conditions=holdfast-source', MAIN, ...args, '--json'], {
      env: { ...process.env, PATH: path },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [out, said] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    child.on('error', reject);
    child.on('exit', (code) => {
      if (code !== 0) return reject(new Error(`bench ended with ${code}: ${said}`));
      const lines = out.split('\n').filter((line) => line.length > 0);
      resolve({ lines: lines.map((line) => JSON.parse(line) as T), said });
    });
  });
}

interface Line {
  readonly system: string;
  readonly baseline?: string;
  readonly errors: number;
  readonly ops_per_second: number;
  readonly operations: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly ratio_median: number;
  readonly server?: { readonly operations: number; readonly mean_us: number; readonly sync_mean_us: number };
}

/** Numbers, and the name of the axis. */
type GrowthLine = Readonly<Record<string, number | string>>;

const SHORT = ['--seconds', '2', '--repeat', '2', '--clients', '16', '--keys', '500'];

it('counts what the node counts, and compares the first system with the others', async () => {
  const { lines } = await bench(['kv-put', '--systems', 'holdfast,level', ...SHORT]);
  const runs = lines.filter(({ baseline }) => baseline === undefined);
  expect(runs.map(({ system }) => system)).toEqual(['holdfast', 'level', 'holdfast', 'level']);
  for (const run of runs) {
    expect(run.errors).toBe(0);
    expect(run.p50_us).toBeGreaterThan(0);
    expect(run.p99_us).toBeGreaterThanOrEqual(run.p50_us);
    // Two seconds, and what the last calls took beyond.
    const seconds = run.operations / run.ops_per_second;
    expect(seconds).toBeGreaterThan(1.95);
    expect(seconds).toBeLessThan(4);
    if (run.system !== 'holdfast') continue;
    expect(Math.abs(run.server!.operations / run.operations - 1)).toBeLessThan(0.05);
    expect(run.server!.mean_us).toBeLessThan((16 / run.ops_per_second) * 1e6);
    expect(run.server!.sync_mean_us).toBeGreaterThan(0);
  }
  const summary = lines.at(-1)!;
  expect(summary).toMatchObject({
    workload: 'kv-put',
    nodes: 1,
    clients: 16,
    system: 'holdfast',
    baseline: 'level',
  });
  expect(summary.ratio_median).toBeGreaterThan(0);
}, 120_000);

it.each(['kv-get', 'kv-mixed', 'kv-incr', 'kv-scan'])(
  'runs %s without errors',
  async (workload) => {
    const { lines } = await bench([workload, ...SHORT, '--repeat', '1', '--seconds', '1']);
    expect(lines).toHaveLength(1);
    expect(lines[0]!.errors).toBe(0);
    expect(lines[0]!.operations).toBeGreaterThan(10);
  },
  120_000,
);

it('goes on without a system that is not there', async () => {
  const { lines, said } = await bench(
    ['kv-get', '--systems', 'holdfast,redis,etcd', ...SHORT, '--repeat', '1', '--seconds', '1'],
    '/nowhere',
  );
  expect(said).toMatch(/skipped redis: .*apt-get install redis-server/);
  expect(said).toMatch(/skipped etcd: .*apt-get install etcd-server/);
  expect(lines.map(({ system }) => system)).toEqual(['holdfast']);
}, 120_000);

it.each([
  ['groups', '1,4', ['--keys', '200']],
  ['keys', '300,100', ['--repeat', '2']],
  ['nodes', '1,3', ['--keys', '200']],
])(
  'measures as %s grow, and what a node recovers that was killed',
  async (axis, points, more) => {
    const plots = mkdtempSync(join(tmpdir(), 'holdfast-growth-'));
    try {
      const args = ['growth', '--axis', axis, '--points', points, '--seconds', '1', '--plots', plots];
      const { lines } = await bench<GrowthLine>([...args, ...more]);
      expect(lines.map((line) => line[axis])).toEqual(
        points
          .split(',')
          .map(Number)
          .sort((a, b) => a - b),
      );
      for (const line of lines) {
        expect(line).toMatchObject({ axis, errors: 0 });
        expect(line['put_ops_per_second']).toBeGreaterThan(0);
        expect(line['get_p99_ms']).toBeGreaterThanOrEqual(line['get_p50_ms'] as number);
        expect(line['rss_mib']).toBeGreaterThanOrEqual(line['anonymous_mib'] as number);
        expect(line['start_ms']).toBeGreaterThan(line['recovery_ms'] as number);
      }
      expect(readFileSync(join(plots, `growth-${axis}.svg`), 'utf8')).toContain('</svg>');
    } finally {
      rmSync(plots, { recursive: true });
    }
  },
  120_000,
);
