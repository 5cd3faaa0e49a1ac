/** A Python client generated from the contracts uses three nodes whose leader is killed again and again. */
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { COORDINATION_GROUP } from '../../node/raft/members.ts';
import { RealCluster } from '../process/real-cluster.ts';
import { describeWith, pathOf, protoc, python, pythonPlugin } from './installed-tools.ts';
import { output } from './run-program.ts';
import { RunningScript } from './running-script.ts';

const SCRIPT = fileURLToPath(new URL('cluster_coordination.py', import.meta.url));
const PROTO = fileURLToPath(new URL('../../proto/', import.meta.url));
const GROUP = BigInt(COORDINATION_GROUP);
const TIMEOUT = 120_000;
/** Of each case. */
const KILLS = 2;
const BETWEEN_MS = 170;
const STREAMS: ReadonlySet<string> = new Set(['watch', 'elections']);

/** What a case says that it did. */
interface Report {
  readonly rounds: number;
  readonly done: number;
  /** Calls that were sent again. */
  readonly repeats: number;
  /** Streams that went on at another node. */
  readonly resumed: number;
}

describeWith([python, protoc, pythonPlugin], 'a generated Python client of three nodes', () => {
  let cluster: RealCluster;
  let out: string;
  const reports: Report[] = [];

  beforeAll(async () => {
    cluster = await RealCluster.start();
    out = mkdtempSync(join(tmpdir(), 'holdfast-python-'));
    const files = globSync(
      ['holdfast/{kv,error,config,lease,lock,election,id}/**/*.proto', 'google/rpc/*.proto'],
      {
        cwd: PROTO,
      },
    );
    const plugin = `--plugin=protoc-gen-grpc_python=${pathOf(pythonPlugin)}`;
    const into = [`--python_out=${out}`, `--grpc_python_out=${out}`];
    await output(pathOf(protoc), [`-I${PROTO}`, plugin, ...into, ...files]);
  }, TIMEOUT);
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
    rmSync(out, { recursive: true, force: true });
  });

  /** Somewhere within what the case does; the others go on, and the node comes back. */
  async function killSoon(name: string): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
    await cluster.node(name).kill();
    await cluster.leaderOf(
      GROUP,
      cluster.names.filter((other) => other !== name),
    );
    await cluster.restart(name);
  }

  it.each([
    'put_and_get',
    'list_keys',
    'transact',
    'watch',
    'leases',
    'locks',
    'elections',
    'unique_ids',
    'sequences',
    'error_details',
  ])(
    '%s',
    async (name) => {
      const leader = await cluster.leaderOf(GROUP);
      // Whom it asks first is the one that is killed.
      const others = cluster.endpoints.filter((endpoint) => endpoint !== cluster.node(leader).grpc);
      const endpoints = [cluster.node(leader).grpc, ...others];
      using running = new RunningScript<Report>(pathOf(python), [SCRIPT, out, endpoints.join(','), name]);
      await running.begun();
      for (let kill = 0; kill < KILLS; kill++) await killSoon(await cluster.leaderOf(GROUP));
      // Whichever node a stream is at, it loses it.
      if (STREAMS.has(name)) for (const node of cluster.names) await killSoon(node);
      const report = await running.end();
      reports.push(report);
      console.log(`${name}: ${JSON.stringify(report)}`);
      expect(report.rounds).toBeGreaterThanOrEqual(2);
      expect(report.done).toBeGreaterThanOrEqual(8);
    },
    TIMEOUT,
  );

  it('was interrupted by the kills', () => {
    const sum = (of: (report: Report) => number) => reports.reduce((total, report) => total + of(report), 0);
    expect(sum(({ repeats }) => repeats)).toBeGreaterThan(5);
    expect(sum(({ resumed }) => resumed)).toBeGreaterThan(0);
  });
});
