/** Figures of leases, locks and elections for metrics. */
import type { CounterSource, GaugeSource } from '../observe/metrics.ts';
import type { Sessions } from '../coordination/sessions.ts';

const KINDS = { locks: 'lock', elections: 'election' } as const;

export function sessionGauges(sessions: Sessions): GaugeSource[] {
  const { group, queues, elections } = sessions;
  const of = (figure: 'inUse' | 'holders' | 'waiters') => () => ({
    lock: group.state.locks.totals[figure],
    election: group.state.elections.totals[figure],
  });
  return [
    {
      name: 'holdfast_leases',
      help: 'Leases of the cluster, as applied here.',
      read: () => group.state.leases.clock.leases,
    },
    {
      name: 'holdfast_locks',
      help: 'Locks and elections of the cluster that are held or waited for, as applied here, by kind.',
      label: 'kind',
      read: of('inUse'),
    },
    {
      name: 'holdfast_lock_holders',
      help: 'Sessions that hold a lock or lead an election, likewise.',
      label: 'kind',
      read: of('holders'),
    },
    {
      name: 'holdfast_lock_waiters',
      help: 'Sessions that wait for a lock or are candidates, likewise.',
      label: 'kind',
      read: of('waiters'),
    },
    {
      name: 'holdfast_lock_waiting_calls',
      help: 'Calls on this node that wait for a lock, or to be elected.',
      read: () => queues.waits.size,
    },
    {
      name: 'holdfast_election_followers',
      help: 'Streams on this node that follow an election.',
      read: () => elections.size,
    },
  ];
}

export function sessionCounters({ leases, queues }: Sessions): CounterSource[] {
  return [
    {
      name: 'holdfast_lease_changes_total',
      help: 'Leases that were granted, revoked or expired, as applied here; and kept_alive: times that this node, leading, gave one its time anew.',
      labels: ['change'],
      read: () => {
        const { granted, revoked, expired, kept } = leases.counts;
        const changes = { granted, revoked, expired, kept_alive: kept };
        return Object.entries(changes).map(([change, count]) => [{ change }, count]);
      },
    },
    {
      name: 'holdfast_lock_calls_total',
      help: 'Calls on this node for a lock, or to be elected, by kind and result: at_once, waited (served after waiting), timed_out, failed.',
      labels: ['kind', 'result'],
      read: () =>
        (['locks', 'elections'] as const).flatMap((which) => {
          const { atOnce, waited, timedOut, failed } = queues.counts[which];
          const results = { at_once: atOnce, waited, timed_out: timedOut, failed };
          return Object.entries(results).map(
            ([result, count]) => [{ kind: KINDS[which], result }, count] as const,
          );
        }),
    },
  ];
}
