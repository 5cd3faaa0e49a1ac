/** Figures of IDs for metrics. */
import type { CounterSource, GaugeSource } from '../observe/metrics.ts';
import type { Ids } from '../ids/ids.ts';

export function idGauges({ lease }: Ids): GaugeSource[] {
  return [
    {
      name: 'holdfast_id_worker',
      help: 'Worker number by which this node makes IDs; -1: none, since nobody has asked for any or none is to be had.',
      read: () => lease.generator?.worker ?? -1,
    },
    {
      name: 'holdfast_id_time_left_seconds',
      help: 'How far the stored high-water of the worker number is ahead of the clock: IDs can be made for so long without a majority. It is moved on demand alone; below 0, the next call waits for that.',
      read: () => (lease.generator === undefined ? 0 : (lease.generator.highWaterMs - lease.clockMs) / 1_000),
    },
  ];
}

export function idCounters(ids: Ids): CounterSource[] {
  return [
    {
      name: 'holdfast_ids_total',
      help: 'IDs that this node has made.',
      labels: [],
      read: () => [[{}, ids.made]],
    },
    {
      name: 'holdfast_id_renewals_total',
      help: 'Times that this node took a worker number, or had its high-water moved: each a write of group 0.',
      labels: [],
      read: () => [[{}, ids.lease.renewals]],
    },
    {
      name: 'holdfast_id_refusals_total',
      help: 'Calls for IDs that this node could not serve, by reason: ID_WORKER_UNAVAILABLE, CLOCK_BEHIND, OVERLOADED.',
      labels: ['reason'],
      read: () => [...ids.refused].map(([reason, count]) => [{ reason }, count] as const),
    },
  ];
}
