import type { LockHolder } from '@holdfast/client';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { printJson, printTable } from '../output.ts';

/** `holdfast lock list`. */
export async function list(prefix: string | undefined, options: ClusterOptions): Promise<void> {
  const locks = await withCluster(options, (client, signal) => client.lock.list(prefix ?? '', { signal }));
  const rows = locks.map(({ name, holders, waiting, token }) => ({
    lock: name,
    holders,
    waiting,
    token: String(token),
  }));
  if (options.json) return printJson({ locks: rows });
  return printTable(
    ['LOCK', 'HOLDERS', 'WAITING', 'TOKEN'],
    rows.map(({ lock, holders, waiting, token }) => [lock, String(holders), String(waiting), token]),
  );
}

/** `holdfast lock describe`. */
export async function describe(name: string, options: ClusterOptions): Promise<void> {
  const described = await withCluster(options, (client, signal) => client.lock.describe(name, { signal }));
  const { holders, waiters, waiting, permits } = described;
  if (options.json)
    return printJson({
      lock: name,
      holders: holders.map(holderJson),
      waiters: waiters.map(holderJson),
      waiting,
      permits: permits ?? null,
    });
  return printTable(
    ['STATE', 'SESSION', 'NAME', 'MODE', 'TOKEN'],
    [...holders.map((holder) => row('holds', holder)), ...waiters.map((waiter) => row('waits', waiter))],
  );
}

function holderJson({ session, name, token, mode, holds }: LockHolder): Record<string, unknown> {
  return { session: String(session), name, token: String(token), mode, holds };
}

function row(state: string, { session, name, token, mode }: LockHolder): string[] {
  return [state, String(session), name, mode, state === 'holds' ? String(token) : ''];
}
