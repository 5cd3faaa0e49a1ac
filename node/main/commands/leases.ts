import { SystemClock } from '@holdfast/client/system-clock';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { asFailure, CommandFailure } from '../command-failure.ts';
import { bytesJson, bytesText } from '../entry-json.ts';
import { ExitCode } from '../exit-code.ts';
import { interruption } from '../interruption.ts';
import { print, printJson, printTable } from '../output.ts';

/** `holdfast lease grant`. */
export async function grant(options: ClusterOptions & { ttl?: number; name?: string }): Promise<void> {
  const { ttl, name } = options;
  const { id, ttlMs } = await withCluster(options, (client, signal) =>
    client.leases.grant({ ttl, name, keepAlive: false, signal }),
  );
  if (options.json) return printJson({ lease: String(id), ttl_ms: ttlMs });
  return print(`${id}\n`);
}

/** `holdfast lease keep-alive`. */
export async function keepAlive(lease: bigint, options: ClusterOptions & { once?: boolean }): Promise<void> {
  await withCluster(options, async (client, hopeless) => {
    const signal = interruption(hopeless);
    const clock = new SystemClock();
    let [sentAtMs, ttlMs] = [clock.monotonicMs(), 0];
    const keep = async () => {
      const nowMs = clock.monotonicMs();
      ttlMs = await client.leases.keepAlive(lease, { signal });
      sentAtMs = nowMs;
      if (options.json || options.once) await printKept(lease, ttlMs, options);
    };
    try {
      await keep();
      if (options.once) return;
      for (let pauseMs = ttlMs / 3; ;) {
        await pause(pauseMs, signal);
        if (signal.aborted) return;
        const error = await keep().catch((reason: unknown) => reason);
        pauseMs = error === undefined ? ttlMs / 3 : RETRY_MS;
        if (error === undefined || signal.aborted) continue;
        // Nobody leads, or nobody answers: the lease lives on meanwhile.
        if ((error as { reason?: string }).reason === 'LEASE_UNKNOWN') throw error;
        const isOver = clock.monotonicMs() >= sentAtMs + ttlMs;
        if (isOver) throw new CommandFailure(ExitCode.LOST, asFailure(error).json);
      }
    } catch (error) {
      if (!signal.aborted || hopeless.aborted) throw error;
    }
  });
}

/** Between a call that failed and the next. */
const RETRY_MS = 200;

function printKept(lease: bigint, ttlMs: number, { json }: ClusterOptions): Promise<void> {
  return json
    ? printJson({ lease: String(lease), ttl_ms: ttlMs })
    : print(`lease ${lease} has ${ttlMs} ms anew\n`);
}

/** `holdfast lease revoke`. */
export async function revoke(lease: bigint, options: ClusterOptions): Promise<void> {
  await withCluster(options, (client, signal) => client.leases.revoke(lease, { signal }));
  return options.json ? printJson({ lease: String(lease), revoked: true }) : print('revoked\n');
}

/** `holdfast lease describe`. */
export async function describe(lease: bigint, options: ClusterOptions): Promise<void> {
  const described = await withCluster(options, (client, signal) =>
    client.leases.describe(lease, { withKeys: true, signal }),
  );
  const { id, name, ttlMs, remainingMs, keys, locks, elections } = described;
  const bytes = keys.map((key) => Buffer.from(key));
  if (options.json)
    return printJson({
      lease: String(id),
      name,
      ttl_ms: ttlMs,
      remaining_ms: remainingMs,
      keys: bytes.map((key) => bytesJson('key', key)),
      locks,
      elections,
    });
  await printTable(
    ['LEASE', 'NAME', 'TTL', 'LEFT'],
    [[String(id), name, `${ttlMs} ms`, `${remainingMs} ms`]],
  );
  const hanging = [
    ...bytes.map((key) => `key ${bytesText(key)}\n`),
    ...locks.map((lock) => `lock ${lock}\n`),
    ...elections.map((election) => `election ${election}\n`),
  ];
  return print(hanging.join(''));
}

/** `holdfast lease list`. */
export async function list(options: ClusterOptions): Promise<void> {
  const leases = await withCluster(options, (client, signal) => client.leases.list({ signal }));
  const rows = leases.map(({ id, name, ttlMs }) => ({ lease: String(id), name, ttl_ms: ttlMs }));
  if (options.json) return printJson({ leases: rows });
  return printTable(
    ['LEASE', 'NAME', 'TTL'],
    rows.map(({ lease, name, ttl_ms: ttlMs }) => [lease, name, `${ttlMs} ms`]),
  );
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = new SystemClock().setTimer(ms, resolve);
    const end = () => {
      timer.cancel();
      resolve();
    };
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}
