/**
 * More load than the node has room for: what fits is served, the rest is refused early
 * with advice when to come back, callers that wait as advised all get through or an
 * answer by their deadline, memory stays bounded, and afterwards all is as before.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect, HoldfastError, type Holdfast } from '@holdfast/client';
import { RealNode } from './real-node.ts';

const MiB = 1_048_576;
const CLIENTS = 8;
/** Together they keep eight times as much waiting as the node's queue holds. */
const CALLERS_A_CLIENT = 256;
const VALUE_BYTES = 4_096;
const LOAD_MS = 5_000;
const DEADLINE_MS = 8_000;
/** Above the resting node: the queue, what the transport holds, the overlay, LevelDB's memory, and garbage. */
const MEMORY_BYTES = 400 * MiB;
/** Mean time from the arrival of a call to its refusal: it must not wait for room first. */
const REFUSED_WITHIN_S = 1;

let node: RealNode;
let clients: Holdfast[];

beforeAll(async () => {
  node = await RealNode.start({
    storage: ['segment_bytes: 16MiB', 'min_free_bytes: 64MiB'],
    limits: ['queue_bytes: 1MiB', 'in_flight_bytes: 4MiB'],
  });
  clients = await Promise.all(
    Array.from({ length: CLIENTS }, () => connect({ endpoints: node.grpc, timeout: DEADLINE_MS })),
  );
}, 60_000);
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await node[Symbol.asyncDispose]();
});

async function metric(name: string, labels = ''): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(name) && line.includes(labels));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

interface Outcome {
  accepted: number;
  refused: number;
  others: string[];
  slowestMs: number;
  written: Map<string, string>;
}

/** Puts from so many callers of each client for a while; every call is timed. */
async function load(by: readonly Holdfast[], callers: number, forMs: number): Promise<Outcome> {
  const outcome: Outcome = { accepted: 0, refused: 0, others: [], slowestMs: 0, written: new Map() };
  const endMs = performance.now() + forMs;
  const caller = async (client: Holdfast, name: string) => {
    const keyspace = client.keyspace('default');
    for (let turn = 0; performance.now() < endMs; turn++) {
      const startedMs = performance.now();
      try {
        await keyspace.put(name, String(turn).padEnd(VALUE_BYTES, '.'));
        outcome.accepted++;
        outcome.written.set(name, String(turn));
      } catch (error) {
        if (error instanceof HoldfastError && error.code === 'RESOURCE_EXHAUSTED') outcome.refused++;
        else outcome.others.push(String(error));
      }
      outcome.slowestMs = Math.max(outcome.slowestMs, performance.now() - startedMs);
    }
  };
  await Promise.all(
    by.flatMap((client, c) => Array.from({ length: callers }, (_, i) => caller(client, `caller/${c}/${i}`))),
  );
  return outcome;
}

it('serves what it can and refuses the rest early', { timeout: 120_000 }, async () => {
  const within = await load(clients.slice(0, 1), 64, LOAD_MS);
  expect(within.others).toEqual([]);
  expect(within.refused).toBe(0);
  const restingBytes = await metric('process_resident_memory_bytes');

  let largestBytes = 0;
  let watching = true;
  const watch = (async () => {
    while (watching) {
      largestBytes = Math.max(largestBytes, await metric('process_resident_memory_bytes'));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })();
  const beyond = await load(clients, CALLERS_A_CLIENT, LOAD_MS);
  watching = false;
  await watch;

  const refused = (part: string) =>
    metric(`holdfast_pipeline_operation_duration_seconds_${part}`, 'code="RESOURCE_EXHAUSTED"');
  const refusals = await refused('count');
  const refusedAfterS = (await refused('sum')) / refusals;
  console.log(
    `${within.accepted} puts with 64 callers, ${beyond.accepted} with ${CLIENTS * CALLERS_A_CLIENT}; ` +
      `${refusals} attempts refused after ${Math.round(refusedAfterS * 1_000)} ms each, ${beyond.refused} calls in the end; slowest ${Math.round(beyond.slowestMs)} ms; ` +
      `memory ${Math.round(restingBytes / MiB)} MiB before, ${Math.round(largestBytes / MiB)} MiB at most`,
  );
  expect(beyond.accepted).toBeGreaterThan(1_000);
  expect(refusals).toBeGreaterThan(1_000);
  expect(refusedAfterS).toBeLessThan(REFUSED_WITHIN_S);
  expect(beyond.others).toEqual([]);
  expect(beyond.slowestMs).toBeLessThan(DEADLINE_MS + 2_000);
  expect(largestBytes - restingBytes).toBeLessThan(MEMORY_BYTES);

  // Acknowledged means kept, and a single caller is served at once again.
  const keyspace = clients[0]!.keyspace('default');
  const names = [...beyond.written.keys()];
  const entries = await keyspace.getMany(names);
  for (const [at, name] of names.entries())
    expect(entries[at]?.text().replace(/\.*$/, '')).toBe(beyond.written.get(name));
  const startedMs = performance.now();
  await keyspace.put('after', 'x');
  expect(performance.now() - startedMs).toBeLessThan(DEADLINE_MS / 2);
  expect(await metric('holdfast_queue_bytes')).toBe(0);
});
