/** Workloads of topics that are no closed loops: a backlog that is read, and records on their way. */
import { cpuMicroseconds } from './server-process.ts';
import type { Driver } from './system.ts';
import { type RunFigures, type RunOptions, randomValues, summary } from './workload.ts';

/** Records of a second of `end-to-end`. */
const RATE = 2_000;
const PACE_MS = 1;
/** For what is still on its way at the end. */
const REST_MS = 5_000;

/** Reads the whole backlog, again and again until the time is over; each record is one operation. */
export async function readBacklog(
  driver: Driver,
  { keys: records, seconds: length }: RunOptions,
  pids: readonly number[] = [],
): Promise<RunFigures> {
  if (driver.consume === undefined) throw new Error('this system has no topics');
  const cpuBefore = cpuMicroseconds(pids);
  const started = performance.now();
  let operations = 0;
  while (performance.now() - started < length * 1_000) {
    await driver.consume(records);
    operations += records;
  }
  const seconds = (performance.now() - started) / 1_000;
  const cpuAfter = cpuMicroseconds(pids);
  return {
    ...summary([]),
    operations,
    seconds,
    opsPerSecond: operations / seconds,
    errors: 0,
    firstError: undefined,
    clientCpuUs: (cpuAfter.client - cpuBefore.client) / operations,
    serverCpuUs: (cpuAfter.servers - cpuBefore.servers) / operations,
    server: undefined,
  };
}

/** Records at a steady rate that a reader of another connection gets: its time from `send` is that of the operation. */
export async function endToEnd(
  driver: Driver,
  { seconds: length, valueBytes }: RunOptions,
  pids: readonly number[] = [],
): Promise<RunFigures> {
  if (driver.produce === undefined || driver.receive === undefined)
    throw new Error('this system has no topics');
  const values = randomValues(Math.max(8, valueBytes));
  const sentAtMs: number[] = [];
  const latencies: number[] = [];
  let [errors, firstError] = [0, undefined as string | undefined];
  // Records of earlier runs are none of this one.
  const run = Math.floor(Math.random() * 2 ** 32);
  const stop = await driver.receive((value) => {
    const head = Buffer.from(value.buffer, value.byteOffset, 8);
    const at = head.readUInt32LE(0) === run ? sentAtMs[head.readUInt32LE(4)] : undefined;
    if (at !== undefined) latencies.push(performance.now() - at);
  });
  const cpuBefore = cpuMicroseconds(pids);
  const started = performance.now();
  const sendOne = () => {
    const value = Buffer.from(values[sentAtMs.length % values.length]!);
    value.writeUInt32LE(run, 0);
    value.writeUInt32LE(sentAtMs.length, 4);
    sentAtMs.push(performance.now());
    driver.produce!(value).catch((error: unknown) => {
      errors += 1;
      firstError ??= String(error);
    });
  };
  while (performance.now() - started < length * 1_000) {
    const due = Math.floor(((performance.now() - started) * RATE) / 1_000);
    while (sentAtMs.length < due) sendOne();
    await new Promise((resolve) => setTimeout(resolve, PACE_MS));
  }
  const seconds = (performance.now() - started) / 1_000;
  const restEnds = performance.now() + REST_MS;
  while (latencies.length < sentAtMs.length && performance.now() < restEnds)
    await new Promise((resolve) => setTimeout(resolve, PACE_MS));
  const cpuAfter = cpuMicroseconds(pids);
  await stop();
  const missing = sentAtMs.length - latencies.length;
  return {
    ...summary(latencies),
    seconds,
    opsPerSecond: latencies.length / seconds,
    errors: errors + Math.max(0, missing),
    firstError: firstError ?? (missing > 0 ? `${missing} records did not come in time` : undefined),
    clientCpuUs: (cpuAfter.client - cpuBefore.client) / latencies.length,
    serverCpuUs: (cpuAfter.servers - cpuBefore.servers) / latencies.length,
    server: undefined,
  };
}
