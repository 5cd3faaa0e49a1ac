/** `npm run -s bench -- leases`: what very many leases cost that are kept alive. */
import { connect, type Holdfast, type Lease } from '@holdfast/client';
import { cpuMicroseconds } from './server-process.ts';
import { HoldfastSystem } from './systems/holdfast.ts';
import { percentiles } from './workload.ts';

export interface LeasesOptions {
  readonly leases: number;
  readonly nodes: number;
  readonly ttlSeconds: number;
  readonly seconds: number;
  readonly json: boolean;
}

const CLIENTS = 10;
const GRANTED_AT_ONCE = 256;
const PUT_EVERY_MS = 50;

export async function leases(options: LeasesOptions): Promise<void> {
  const system = new HoldfastSystem({ nodes: options.nodes, callers: 1, valueBytes: 100 });
  const clients: Holdfast[] = [];
  const interrupted = () => void system.stop().finally(() => process.exit(130));
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    await system.start();
    for (let at = 0; at < CLIENTS; at++) clients.push(await connect({ endpoints: system.endpoints }));
    const memoryBefore = await memory(system, options.nodes);
    const idle = await observe(system, clients[0]!, Math.min(10, options.seconds));
    const begun = performance.now();
    const granted = (
      await Promise.all(
        clients.map((client) => grantMany(client, options.leases / CLIENTS, options.ttlSeconds)),
      )
    ).flat();
    const grantMs = performance.now() - begun;
    const kept = await observe(system, clients[0]!, options.seconds);
    const lost = granted.filter(({ signal }) => signal.aborted).length;
    const memoryAfter = await memory(system, options.nodes);
    const line = {
      leases: granted.length,
      nodes: options.nodes,
      ttl_s: options.ttlSeconds,
      seconds: options.seconds,
      granted_per_second: Math.round((granted.length / grantMs) * 1_000),
      lost,
      server_cpu_cores: { idle: idle.serverCores, kept: kept.serverCores },
      client_cpu_cores: { idle: idle.clientCores, kept: kept.clientCores },
      put: { idle: idle.put, kept: kept.put },
      log_bytes_per_second: { idle: idle.logBytesPerSecond, kept: kept.logBytesPerSecond },
      memory_mib: { before: mib(memoryBefore), after: mib(memoryAfter) },
      bytes_per_lease_and_node: Math.round((memoryAfter - memoryBefore) / granted.length / options.nodes),
    };
    console.log(JSON.stringify(line, undefined, options.json ? undefined : 2));
    if (lost > 0) process.exitCode = 1;
  } finally {
    for (const client of clients) await client.close();
    await system.stop();
  }
}

async function grantMany(client: Holdfast, count: number, ttlSeconds: number): Promise<Lease[]> {
  const granted: Lease[] = [];
  let left = count;
  const granter = async () => {
    while (left-- > 0) granted.push(await client.leases.grant({ ttl: `${ttlSeconds}s` }));
  };
  await Promise.all(Array.from({ length: GRANTED_AT_ONCE }, granter));
  return granted;
}

/** What everything costs over some time, and how long writes of others take meanwhile. */
async function observe(system: HoldfastSystem, client: Holdfast, seconds: number) {
  const bytesBefore = await logBytes(system);
  const cpuBefore = cpuMicroseconds(system.pids);
  const started = performance.now();
  const latencies: number[] = [];
  while (performance.now() - started < seconds * 1_000) {
    const begun = performance.now();
    await client.config.put('other', 'value');
    latencies.push(performance.now() - begun);
    await new Promise((resolve) => setTimeout(resolve, PUT_EVERY_MS));
  }
  const lengthS = (performance.now() - started) / 1_000;
  const cpu = cpuMicroseconds(system.pids);
  const cores = (micros: number) => Number((micros / 1e6 / lengthS).toFixed(3));
  return {
    serverCores: cores(cpu.servers - cpuBefore.servers),
    clientCores: cores(cpu.client - cpuBefore.client),
    put: percentiles(latencies),
    logBytesPerSecond: Math.round(((await logBytes(system)) - bytesBefore) / lengthS),
  };
}

async function logBytes(system: HoldfastSystem): Promise<number> {
  return (await system.scrape(0))('holdfast_log_batch_bytes_sum');
}

async function memory(system: HoldfastSystem, nodes: number): Promise<number> {
  let sum = 0;
  for (let at = 0; at < nodes; at++) sum += (await system.scrape(at))('process_resident_memory_bytes');
  return sum;
}

function mib(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
