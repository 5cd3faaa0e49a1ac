/** Prometheus as Debian has it scrapes a node, in plain text and with TLS both ways. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '@holdfast/client';
import { Authority } from '../process/certificates.ts';
import { freePorts, HOST, RealNode, until } from '../process/real-node.ts';
import { startTlsNode } from '../process/tls-node.ts';
import { describeWith, pathOf, prometheus, promtool } from './installed-tools.ts';
import { runProgram } from './run-program.ts';

const SCRAPED_MS = 30_000;

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

describeWith([prometheus, promtool], 'Prometheus', () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-prometheus-'));
  const at = (name: string) => join(directory, name);
  let plain: RealNode;
  let secured: RealNode;
  let api: string;
  let log = '';
  let server: ReturnType<typeof spawn>;

  beforeAll(async () => {
    const authority = await Authority.create();
    plain = await RealNode.start();
    secured = await startTlsNode({ authority, clientAuth: 'require' });
    const own = await authority.sign({ name: 'prometheus' });
    writeFileSync(at('ca.crt'), authority.certificate);
    writeFileSync(at('own.crt'), own.certificate);
    writeFileSync(at('own.key'), own.key);
    writeFileSync(at('prometheus.yml'), configuration());
    const [port] = await freePorts(1);
    api = `http://${HOST}:${port}/api/v1`;
    const client = await connect({ endpoints: plain.grpc });
    await client.keyspace('default').put('counted', 'x');
    await client.close();
    server = spawn(pathOf(prometheus), [
      `--config.file=${at('prometheus.yml')}`,
      `--storage.tsdb.path=${at('data')}`,
      `--web.listen-address=${HOST}:${port}`,
    ]);
    for (const stream of [server.stdout!, server.stderr!]) stream.on('data', (text) => (log += String(text)));
  }, 60_000);

  afterAll(async () => {
    if (server !== undefined && server.exitCode === null) {
      server.kill('SIGKILL');
      await once(server, 'close');
    }
    await plain?.[Symbol.asyncDispose]();
    await secured?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  function configuration(): string {
    return `global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
  - job_name: plain
    static_configs: [{ targets: ['${plain.http}'] }]
  - job_name: secured
    scheme: https
    tls_config: { ca_file: ca.crt, cert_file: own.crt, key_file: own.key }
    static_configs: [{ targets: ['${secured.http}'] }]
`;
  }

  async function query(expression: string): Promise<readonly Sample[]> {
    const answer = await fetch(`${api}/query?query=${encodeURIComponent(expression)}`).catch(() => undefined);
    if (answer?.status !== 200) return [];
    return ((await answer.json()) as { data: { result: Sample[] } }).data.result;
  }

  /** The only sample, as soon as there is one. */
  async function figure(expression: string): Promise<string> {
    let samples: readonly Sample[] = [];
    await until(
      async () => (samples = await query(expression)).length > 0,
      SCRAPED_MS,
      () => `${expression} is nothing: ${log}`,
    );
    return samples[0]!.value[1];
  }

  it('finds both nodes up, and their figures', async () => {
    await until(
      async () => (await query('up == 1')).length === 2,
      SCRAPED_MS,
      () => log,
    );
    // A scrape that comes too late takes the figures away until the next one.
    for (const name of [
      'holdfast_log_sync_duration_seconds_count',
      'holdfast_connections',
      'process_cpu_seconds_total',
    ])
      await until(
        async () => new Set((await query(name)).map(({ metric }) => metric['job'])).size === 2,
        SCRAPED_MS,
        () => `${name} is not there for both: ${log}`,
      );
    const puts = await figure('sum(holdfast_pipeline_operation_duration_seconds_count{job="plain"})');
    expect(puts).toBe('1');
    const endsS = await figure('holdfast_tls_certificate_not_after_seconds{job="secured"} - time()');
    expect(Number(endsS)).toBeGreaterThan(1_000);
  }, 120_000);

  it('promtool has nothing against names, types and help', async () => {
    const text = await (await fetch(`${plain.url}/metrics`)).text();
    expect(text).toContain('holdfast_connections');
    const end = await runProgram(pathOf(promtool), ['check', 'metrics'], { input: text });
    expect(end).toEqual({ code: 0, stdout: '', stderr: '' });
  });
});
