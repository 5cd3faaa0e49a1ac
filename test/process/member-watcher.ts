/** What the nodes of a real cluster hold each other for, as each tells whoever follows it. */
import type { Holdfast, MemberLiveness } from '@holdfast/client';
import type { RealCluster } from './real-cluster.ts';
import { until } from './real-node.ts';

/** Follows what one node says of the members, for as long as its process and this lasts. */
export class MemberWatcher {
  readonly node: string;
  /** By member, each state in which it was seen, in order. */
  readonly #seen = new Map<string, MemberLiveness[]>();

  private constructor(node: string) {
    this.node = node;
  }

  /** One for each of these nodes; they end with the cluster. */
  static async ofAll(
    cluster: RealCluster,
    names: readonly string[] = cluster.names,
  ): Promise<Map<string, MemberWatcher>> {
    const watchers = names.map(async (name) => {
      const client = await cluster.connect({ endpoints: cluster.node(name).grpc });
      const watcher = new MemberWatcher(name);
      void watcher.#follow(client);
      return [name, watcher] as const;
    });
    return new Map(await Promise.all(watchers));
  }

  /** The states of a member so far, the newest last. */
  seen(member: string): readonly MemberLiveness[] {
    return this.#seen.get(member) ?? [];
  }

  /** What a member is held for now. */
  now(member: string): MemberLiveness | undefined {
    return this.seen(member).at(-1);
  }

  /** Forgets what was before. */
  startAnew(): void {
    for (const [member, states] of this.#seen) this.#seen.set(member, states.slice(-1));
  }

  get text(): string {
    return [...this.#seen].map(([member, states]) => `${member}: ${states.join(' ')}`).join(', ');
  }

  async #follow(client: Holdfast): Promise<void> {
    try {
      for await (const { members } of client.cluster.watchMembers()) {
        for (const { name, liveness } of members) {
          if (this.now(name) !== liveness) this.#seen.set(name, [...this.seen(name), liveness]);
        }
      }
    } catch {
      // The client is closed: the test is over.
    }
  }
}

/** Resolves with how long it took until all of these watchers hold these members for that. */
export async function heldFor(
  state: MemberLiveness,
  members: readonly string[],
  watchers: Iterable<MemberWatcher>,
  withinMs: number,
): Promise<number> {
  const startedMs = performance.now();
  const all = [...watchers];
  await until(
    () => all.every((watcher) => members.every((member) => watcher.now(member) === state)),
    withinMs,
    () => `${members.join(', ')} ${state}: ${all.map(({ node, text }) => `${node} sees ${text}`).join('; ')}`,
  );
  return performance.now() - startedMs;
}
