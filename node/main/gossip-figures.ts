/** Figures of gossip for metrics. */
import type { Clock } from '@holdfast/client/clock';
import type { GossipDriver } from '../cluster/gossip-driver.ts';
import type { LifeState } from '../cluster/gossip/node-record.ts';
import type { SeenMembers } from '../cluster/seen-members.ts';
import type { CounterSource, GaugeSource } from '../observe/metrics.ts';

const STATES: readonly LifeState[] = ['alive', 'suspect', 'dead', 'left'];

export function gossipGauges(gossip: GossipDriver, seen: SeenMembers, clock: Clock): GaugeSource[] {
  return [
    {
      name: 'holdfast_members',
      help: 'Members of the cluster, this one too, by what this node holds them for: alive, suspect, dead or left.',
      label: 'state',
      read: () => {
        const { members } = seen.list();
        const count = (state: LifeState) => members.filter((member) => member.state === state).length;
        return Object.fromEntries(STATES.map((state) => [state, count(state)]));
      },
    },
    {
      name: 'holdfast_gossip_doubt',
      help: 'How far this node doubts itself, 0 to 8: its probes take so many times longer, and one more.',
      read: () => gossip.core.doubt,
    },
    {
      name: 'holdfast_gossip_news_waiting',
      help: 'News of members that this node has yet to tell; 0: it has told all that it knows.',
      read: () => gossip.core.newsWaiting,
    },
    {
      name: 'holdfast_gossip_unchanged_seconds',
      help: 'For how long nothing has changed in what this node knows of the members.',
      read: () => (clock.monotonicMs() - gossip.changedMs) / 1_000,
    },
  ];
}

export function gossipCounters(gossip: GossipDriver): CounterSource[] {
  const { core, counts } = gossip;
  const one = (name: string, help: string, value: () => number): CounterSource => {
    return { name, help, labels: [], read: () => [[{}, value()]] };
  };
  const both = (figure: 'messages' | 'bytes', help: string): CounterSource => ({
    name: `holdfast_gossip_${figure}_total`,
    help,
    labels: ['direction'],
    read: () => [
      [{ direction: 'received' }, counts.received[figure]],
      [{ direction: 'sent' }, counts.sent[figure]],
    ],
  });
  return [
    one(
      'holdfast_gossip_probes_total',
      'Times that this node asked another one whether it is there.',
      () => core.counts.probes,
    ),
    one(
      'holdfast_gossip_silences_total',
      'Probes without an answer, also through others.',
      () => core.counts.silences,
    ),
    {
      name: 'holdfast_gossip_changes_total',
      help: 'Times that this node came to hold another one for alive, suspect, dead or left, by that state.',
      labels: ['state'],
      read: () => STATES.map((state) => [{ state }, counts.changes[state]] as const),
    },
    one(
      'holdfast_gossip_refutations_total',
      'Times that this node contradicted that it is suspect or dead.',
      () => core.refutations,
    ),
    both('messages', 'Messages of gossip, by direction.'),
    both(
      'bytes',
      'Bytes of messages of gossip, by direction, without what any message between nodes begins with.',
    ),
    {
      name: 'holdfast_gossip_dropped_messages_total',
      help: 'Messages of gossip that were not taken in, by reason: foreign (of another cluster), outdated (of an earlier run), unreadable.',
      labels: ['reason'],
      read: () => [
        [{ reason: 'foreign' }, core.counts.foreign],
        [{ reason: 'outdated' }, core.counts.outdated],
        [{ reason: 'unreadable' }, counts.unreadable],
      ],
    },
  ];
}
