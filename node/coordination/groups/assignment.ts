/**
 * Who of a consumer group is to work on which partitions. Pure, and the same for the same input:
 * all replicas of the group decide it for themselves.
 *
 * Range and round-robin are those of Kafka's assignors of these names. Cooperative-sticky gives
 * each as many as the others, within one, as far as subscriptions allow, and moves no partition
 * that it need not: what is free goes to who has least, then single partitions pass along the
 * shortest chain from who has most to who has at least two fewer, until there is no such chain.
 */

export type Strategy = 'range' | 'round-robin' | 'cooperative-sticky';

/** A member, as far as it matters for who gets what. */
export interface Subscriber {
  readonly id: string;
  readonly topics: ReadonlySet<string>;
}

export interface Slot {
  readonly topic: string;
  readonly number: number;
  /** Who has it; undefined: nobody. */
  readonly owner: string | undefined;
}

/** For each slot, in the same order, its member; undefined: nobody subscribes. `slots`: by topic and number. */
export function assign(
  strategy: Strategy,
  members: readonly Subscriber[],
  slots: readonly Slot[],
): (string | undefined)[] {
  const sorted = [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
  if (strategy === 'range') return assignRange(sorted, slots);
  if (strategy === 'round-robin') return assignInTurn(sorted, slots);
  return new Sticky(sorted, slots).run();
}

function assignRange(members: readonly Subscriber[], slots: readonly Slot[]): (string | undefined)[] {
  const assigned: (string | undefined)[] = [];
  for (let first = 0; first < slots.length;) {
    const { topic } = slots[first]!;
    let end = first;
    while (end < slots.length && slots[end]!.topic === topic) end++;
    const subscribed = members.filter(({ topics }) => topics.has(topic));
    const share = Math.floor((end - first) / subscribed.length);
    const larger = (end - first) % subscribed.length;
    for (const [at, { id }] of subscribed.entries())
      for (let left = share + (at < larger ? 1 : 0); left > 0; left--) assigned.push(id);
    if (subscribed.length === 0) for (let at = first; at < end; at++) assigned.push(undefined);
    first = end;
  }
  return assigned;
}

function assignInTurn(members: readonly Subscriber[], slots: readonly Slot[]): (string | undefined)[] {
  let turn = 0;
  return slots.map(({ topic }) => {
    for (let tried = 0; tried < members.length; tried++) {
      const { id, topics } = members[turn++ % members.length]!;
      if (topics.has(topic)) return id;
    }
    return undefined;
  });
}

class Sticky {
  readonly #members: readonly Subscriber[];
  readonly #slots: readonly Slot[];
  readonly #assigned: (string | undefined)[];
  /** By member: slots. */
  readonly #held: Map<string, Set<number>>;
  /** Who subscribes. */
  readonly #byTopic = new Map<string, readonly Subscriber[]>();

  constructor(members: readonly Subscriber[], slots: readonly Slot[]) {
    this.#members = members;
    this.#slots = slots;
    this.#held = new Map(members.map(({ id }) => [id, new Set<number>()]));
    const byId = new Map(members.map((member) => [member.id, member]));
    this.#assigned = slots.map(({ topic, owner }, at) => {
      if (owner === undefined || byId.get(owner)?.topics.has(topic) !== true) return undefined;
      this.#held.get(owner)!.add(at);
      return owner;
    });
  }

  run(): (string | undefined)[] {
    const free = [...this.#slots.keys()].filter((at) => this.#assigned[at] === undefined);
    const choices = (at: number) => this.#subscribers(at).length;
    // Who can be given to few is given first.
    for (const at of free.sort((a, b) => choices(a) - choices(b) || a - b)) {
      const to = leastOf(this.#subscribers(at), (member) => this.#load(member.id));
      if (to !== undefined) this.#give(at, to.id);
    }
    while (this.#level());
    return this.#assigned;
  }

  /** Passes one partition on from who has most, along the shortest chain. False: all is as even as it can be. */
  #level(): boolean {
    const byLoad = [...this.#members].sort(
      (a, b) => this.#load(b.id) - this.#load(a.id) || (a.id < b.id ? -1 : 1),
    );
    const least = this.#load(byLoad.at(-1)?.id ?? '');
    for (const { id } of byLoad) {
      if (this.#load(id) - 2 < least) return false;
      const chain = this.#chainFrom(id);
      if (chain === undefined) continue;
      for (const { slot, to } of chain) this.#give(slot, to);
      return true;
    }
    return false;
  }

  /** Who gives what to whom, so that somebody with at least two fewer has one more in the end. */
  #chainFrom(from: string): { slot: number; to: string }[] | undefined {
    const limit = this.#load(from) - 2;
    const reached = new Map<string, { slot: number; by: string } | undefined>([[from, undefined]]);
    const queue = [from];
    for (let giver = queue.shift(); giver !== undefined; giver = queue.shift()) {
      // Who has least first: whoever is given something now and has to pass it on later costs a move more.
      const next = this.#members
        .filter(({ id }) => !reached.has(id))
        .sort((a, b) => this.#load(a.id) - this.#load(b.id) || (a.id < b.id ? -1 : 1));
      for (const member of next) {
        const slot = this.#slotFor(giver, member);
        if (slot === undefined) continue;
        reached.set(member.id, { slot, by: giver });
        if (this.#load(member.id) <= limit) return chainTo(member.id, reached);
        queue.push(member.id);
      }
    }
    return undefined;
  }

  /** Of what one holds, something that another one subscribes to: the last, as people read lists from the front. */
  #slotFor(holder: string, { topics }: Subscriber): number | undefined {
    let found: number | undefined;
    for (const at of this.#held.get(holder)!)
      if (topics.has(this.#slots[at]!.topic) && (found === undefined || this.#rank(at) > this.#rank(found)))
        found = at;
    return found;
  }

  /** What has come just now goes before what was there. */
  #rank(at: number): number {
    const isNew = this.#slots[at]!.owner !== this.#assigned[at];
    return isNew ? this.#slots.length + at : at;
  }

  #subscribers(at: number): readonly Subscriber[] {
    const { topic } = this.#slots[at]!;
    const known = this.#byTopic.get(topic);
    if (known !== undefined) return known;
    const subscribers = this.#members.filter(({ topics }) => topics.has(topic));
    this.#byTopic.set(topic, subscribers);
    return subscribers;
  }

  #load(id: string): number {
    return this.#held.get(id)?.size ?? 0;
  }

  #give(at: number, to: string): void {
    const from = this.#assigned[at];
    if (from !== undefined) this.#held.get(from)!.delete(at);
    this.#assigned[at] = to;
    this.#held.get(to)!.add(at);
  }
}

function chainTo(
  last: string,
  reached: ReadonlyMap<string, { slot: number; by: string } | undefined>,
): { slot: number; to: string }[] {
  const chain: { slot: number; to: string }[] = [];
  let to = last;
  for (let step = reached.get(to); step !== undefined; step = reached.get(to)) {
    chain.push({ slot: step.slot, to });
    to = step.by;
  }
  return chain;
}

function leastOf<T>(items: readonly T[], size: (item: T) => number): T | undefined {
  return items.reduce<T | undefined>(
    (least, item) => (least === undefined || size(item) < size(least) ? item : least),
    undefined,
  );
}
