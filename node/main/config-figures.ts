/** Figures of the configuration for metrics. */
import type { Configuration } from '../coordination/configuration.ts';
import type { CoordinationUpkeep } from '../coordination/coordination-upkeep.ts';
import type { CounterSource, GaugeSource } from '../observe/metrics.ts';

export function configGauges(configuration: Configuration): GaugeSource[] {
  const { watches } = configuration;
  return [
    {
      name: 'holdfast_config_revision',
      help: 'Revision of the configuration, as applied here.',
      read: () => configuration.figures.revision,
    },
    {
      name: 'holdfast_config_compact_revision',
      help: 'Revision before which history is forgotten, likewise.',
      read: () => configuration.figures.compactRevision,
    },
    {
      name: 'holdfast_config_keys',
      help: 'Keys of the configuration, likewise.',
      read: () => configuration.figures.keys,
    },
    {
      name: 'holdfast_config_bytes',
      help: 'Bytes of keys and values of the configuration with their history, likewise.',
      read: () => configuration.figures.bytes,
    },
    {
      name: 'holdfast_config_quota_bytes',
      help: 'Bytes above which this node has writes to the configuration refused.',
      read: () => configuration.figures.quotaBytes,
    },
    {
      name: 'holdfast_config_watches',
      help: 'Watches on this node: at_end are told what is applied as it is applied, behind are being brought up or not read.',
      label: 'state',
      read: () => ({ at_end: watches.size - watches.behind, behind: watches.behind }),
    },
  ];
}

export function configCounters(
  { watches, counts }: Configuration,
  { counts: upkeep }: CoordinationUpkeep,
): CounterSource[] {
  return [
    {
      name: 'holdfast_config_transactions_total',
      help: 'Writes to the configuration that this node was asked for, by how they ended: changed, unchanged, refused by a condition or the quota, failed.',
      labels: ['result'],
      read: () => Object.entries(counts).map(([result, count]) => [{ result }, count]),
    },
    {
      name: 'holdfast_config_events_total',
      help: 'Changes that this node has told to watches, once for each.',
      labels: [],
      read: () => [[{}, watches.told]],
    },
    {
      name: 'holdfast_config_upkeep_total',
      help: 'What this node, leading, had done to the configuration by itself: compactions, changes looked at to remove what they replaced, silent clients forgotten.',
      labels: ['kind'],
      read: () => [
        [{ kind: 'compaction' }, upkeep.compactions],
        [{ kind: 'purged_change' }, upkeep.purged],
        [{ kind: 'forgotten_client' }, upkeep.forgottenClients],
      ],
    },
  ];
}
