/** What a node is told of time and size; all nodes of a cluster should agree. Times in milliseconds. */
export interface GossipSettings {
  /** One node is probed so often. Shorter: failures are noticed sooner, at more messages. */
  readonly probeIntervalMs: number;
  /** Without an answer by then others are asked to probe. Shorter: more such questions; it must cover a round trip. */
  readonly probeTimeoutMs: number;
  /** How many others are asked. More: fewer false suspicions on lossy links, at more messages. */
  readonly indirectProbes: number;
  /** Who is asked for others says so if there is no answer by then; well below `probeTimeoutMs`. */
  readonly nackTimeoutMs: number;
  /**
   * The shortest suspicion of n nodes takes so many probe intervals, times the decimal logarithm
   * of n from ten nodes on. More: a node has longer to contradict; fewer: it is dead sooner.
   */
  readonly suspicionIntervals: number;
  /** A suspicion that nobody confirms takes so many times as long. */
  readonly suspicionStretch: number;
  /** So many others that find the same bring a suspicion to its shortest; fewer where there are fewer. */
  readonly suspicionConfirmations: number;
  /** Each news is told so many times the decimal logarithm of the number of nodes, rounded up. */
  readonly retransmits: number;
  /** News that wait are told so often beside the probes. Shorter: they travel faster, in more messages. */
  readonly newsIntervalMs: number;
  /** To so many others each time; nobody while there are none. */
  readonly newsFanOut: number;
  /** Bytes of news in one message. More: news travel faster when there are many; fewer: smaller messages. */
  readonly maxNewsBytes: number;
  /** Two nodes tell each other everything so often; of more than 32 nodes the more seldom the more they are, which keeps the load flat. */
  readonly syncIntervalMs: number;
  /** Bytes of nodes in one Sync. */
  readonly maxSyncBytes: number;
  /** Who does not know anybody yet asks its seeds so often. */
  readonly joinIntervalMs: number;
  /**
   * Somebody dead is asked so often; more seldom the fewer of all they are. Shorter: halves of a
   * healed cluster find each other sooner.
   */
  readonly rejoinIntervalMs: number;
  /** Who is dead or has left is forgotten after this. */
  readonly reapAfterMs: number;
  /** This node tells how busy it is when that has changed by so many percent... */
  readonly loadStep: number;
  /** ... and this often at most: each time everybody has to hear of it. */
  readonly loadIntervalMs: number;
  /** Nodes known at a time; further ones are passed over. */
  readonly maxNodes: number;
  /** Probes for others that are under way at a time; further ones are not begun. */
  readonly maxRelays: number;
  /** How far this node may come to doubt itself: its probes take so many times longer, and one more. */
  readonly maxDoubt: number;
  /**
   * The most time that passes from one tick to the next, whatever the clock says: what a stalled
   * node slept through does not count against others. Several times the distance of ticks.
   */
  readonly maxStepMs: number;
}

export const DEFAULT_GOSSIP_SETTINGS: GossipSettings = {
  probeIntervalMs: 1_000,
  probeTimeoutMs: 500,
  indirectProbes: 3,
  nackTimeoutMs: 300,
  suspicionIntervals: 4,
  suspicionStretch: 6,
  suspicionConfirmations: 3,
  retransmits: 4,
  newsIntervalMs: 200,
  newsFanOut: 3,
  maxNewsBytes: 1_200,
  syncIntervalMs: 30_000,
  maxSyncBytes: 256 * 1024,
  joinIntervalMs: 1_000,
  rejoinIntervalMs: 5_000,
  reapAfterMs: 24 * 60 * 60 * 1_000,
  loadStep: 10,
  loadIntervalMs: 30_000,
  maxNodes: 1_024,
  maxRelays: 1_024,
  maxDoubt: 8,
  maxStepMs: 500,
};

/** Settings with the defaults filled in, checked and frozen; RangeError names what is wrong. */
export function resolveGossipSettings(settings: Partial<GossipSettings> = {}): GossipSettings {
  const resolved = { ...DEFAULT_GOSSIP_SETTINGS, ...settings };
  for (const [name, value] of Object.entries(resolved)) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new RangeError(`${name} is ${value}, not a positive integer`);
  }
  mustBeBelow(resolved, 'nackTimeoutMs', 'probeTimeoutMs');
  mustBeBelow(resolved, 'probeTimeoutMs', 'probeIntervalMs');
  return Object.freeze(resolved);
}

function mustBeBelow(
  settings: GossipSettings,
  lower: keyof GossipSettings,
  upper: keyof GossipSettings,
): void {
  if (settings[lower] < settings[upper]) return;
  throw new RangeError(`${lower} is ${settings[lower]}, not below ${upper} ${settings[upper]}`);
}
