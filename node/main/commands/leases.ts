import { SystemClock } from '@holdfast/client/system-clock';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { bytesJson, bytesText } from '../entry-json.ts';
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

/** Between an attempt that failed and the next. */
const RETRY_MS = 500;

/** `holdfast lease keep-alive`. A failure ends it only when the lease may have ended. */
export async function keepAlive(lease: bigint, options: ClusterOptions & { once?: boolean }): Promise<void> {
  const clock = new SystemClock();
  await withCluster(options, async (client, hopeless) => {
    const interrupted = interruption(hopeless);
    for (let endsAtMs = -Infinity; !interrupted.aborted;) {
      const sentAtMs = clock.monotonicMs();
      try {
        const ttlMs = await client.leases.keepAlive(lease, { signal: interrupted });
        endsAtMs = sentAtMs + ttlMs;
        if (options.json) await printJson({ lease: String(lease), ttl_ms: ttlMs });
        else if (options.once === true) await print(`lease ${lease} has ${ttlMs} ms anew\n`);
        if (options.once === true) return;
        await pause(ttlMs / 3, interrupted);
      } catch (error) {
        if (interrupted.aborted && !hopeless.aborted) return;
        const isGone = (error as { reason?: string }).reason === 'LEASE_UNKNOWN';
        if (isGone || clock.monotonicMs() + RETRY_MS >= endsAtMs) throw error;
        await pause(RETRY_MS, interrupted);
      }
    }
  });
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
