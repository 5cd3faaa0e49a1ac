import type { Clock } from '@holdfast/client';
import { errorToMessage } from '@holdfast/client/error-mapping';
import type { FakeSessions } from '../fake-sessions.ts';
import { type FakeBroker, refusal } from './fake-broker.ts';

interface Named {
  topic: string;
  partition: number;
  generation: bigint;
}

interface Member {
  readonly id: string;
  readonly instanceId: string;
  lease: bigint;
  topics: string[];
  version: bigint;
  rebalanceTimeoutMs: number;
  readonly has: Map<string, Named>;
  /** What it is to give up, and since when. */
  readonly revoked: Map<string, number>;
}

interface Request {
  group: string;
  lease: bigint;
  topics: string[];
  instanceId: string;
  memberId: string;
  knownVersion: bigint;
  released: Named[];
  waitMs: number;
  rebalanceTimeoutMs: bigint;
  partitions: Named[];
  offsets: (Named & { offset: bigint })[];
}

/** Groups as group.proto describes them: each partition one member's, greater generations for later ones. */
export class FakeGroups {
  readonly #clock: Clock;
  readonly #broker: FakeBroker;
  readonly #sessions: FakeSessions;
  readonly members = new Map<string, Member>();
  generation = 0n;
  /** Every partition that was given to a member. */
  readonly given: (Named & { memberId: string })[] = [];
  /** Every commit that was stored. */
  readonly commits: { topic: string; partition: number; offset: number; generation: bigint }[] = [];
  refusedCommits = 0;
  #lastMember = 0;
  #waiters: (() => void)[] = [];

  constructor(clock: Clock, broker: FakeBroker, sessions: FakeSessions) {
    this.#clock = clock;
    this.#broker = broker;
    this.#sessions = sessions;
    this.#watchLeases();
  }

  handle(method: string, request: unknown): Promise<unknown> | undefined {
    const asked = request as Request;
    try {
      if (method === 'JoinGroup') return Promise.resolve(this.#join(asked));
      if (method === 'SyncGroup') return this.#sync(asked);
      if (method === 'LeaveGroup') return Promise.resolve(this.#leave(asked.memberId));
      if (method === 'FetchOffsets')
        return Promise.resolve({ results: asked.partitions.map((one) => this.#claim(one)) });
      if (method === 'CommitOffsets')
        return Promise.resolve({ results: asked.offsets.map((one) => this.#commit(one)) });
    } catch (error) {
      return Promise.reject(error as Error);
    }
    return undefined;
  }

  /** Stored offset of a partition. */
  offset(topic: string, partition: number): number | undefined {
    const stored = this.#broker.partition(topic, partition).offsets.get('g')?.offset;
    return stored === undefined ? undefined : Number(stored);
  }

  /** Takes a member out, as after its death. */
  remove(memberId: string): void {
    this.members.delete(memberId);
    this.#balance();
  }

  /** Who has each partition, by name. */
  get owners(): Map<string, string> {
    const owners = new Map<string, string>();
    for (const { id, has } of this.members.values()) for (const name of has.keys()) owners.set(name, id);
    return owners;
  }

  #watchLeases(): void {
    this.#clock.setTimer(50, () => {
      for (const { id, lease, revoked, rebalanceTimeoutMs } of this.members.values()) {
        const since = Math.min(Infinity, ...revoked.values());
        const isLate = this.#clock.monotonicMs() - since > rebalanceTimeoutMs;
        if (!this.#sessions.isLive(lease) || isLate) this.remove(id);
      }
      this.#watchLeases();
    });
  }

  #join({ lease, topics, instanceId, rebalanceTimeoutMs }: Request): unknown {
    if (!this.#sessions.isLive(lease)) throw refusal('SESSION_EXPIRED');
    const all = [...this.members.values()];
    const same = all.find((one) => one.lease === lease);
    const earlier = all.find((one) => instanceId !== '' && one.instanceId === instanceId);
    let member = same;
    if (member === undefined) {
      this.#lastMember += 1;
      member = {
        id: `m${this.#lastMember}`,
        instanceId,
        lease,
        topics,
        version: 0n,
        rebalanceTimeoutMs: Number(rebalanceTimeoutMs),
        has: new Map(),
        revoked: new Map(),
      };
      if (earlier !== undefined) {
        this.members.delete(earlier.id);
        this.generation += 1n;
        for (const [name, one] of earlier.has) this.#give(member, name, one.topic, one.partition);
      }
      this.members.set(member.id, member);
    }
    member.topics = topics;
    this.#balance();
    return { memberId: member.id, assignment: this.#assignment(member) };
  }

  async #sync({ memberId, knownVersion, released, waitMs }: Request): Promise<unknown> {
    const endsAtMs = this.#clock.monotonicMs() + waitMs;
    const member = this.#member(memberId);
    for (const { topic, partition, generation } of released) {
      const name = `${topic}/${partition}`;
      if (!member.revoked.has(name) || member.has.get(name)?.generation !== generation) continue;
      member.revoked.delete(name);
      member.has.delete(name);
      member.version += 1n;
    }
    if (released.length > 0) this.#balance();
    while (this.#member(memberId).version === knownVersion && this.#clock.monotonicMs() < endsAtMs)
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
        this.#clock.setTimer(endsAtMs - this.#clock.monotonicMs(), resolve);
      });
    return { assignment: this.#assignment(this.#member(memberId)) };
  }

  #member(id: string): Member {
    const member = this.members.get(id);
    if (member === undefined) throw refusal('GROUP_MEMBER_UNKNOWN', { code: 5 });
    return member;
  }

  #leave(id: string): unknown {
    if (this.members.has(id)) this.remove(id);
    return {};
  }

  #assignment({ has, revoked, version }: Member): unknown {
    const all = [...has.entries()];
    return {
      generation: this.generation,
      partitions: all.filter(([name]) => !revoked.has(name)).map(([, one]) => ({ ...one })),
      revoked: all.filter(([name]) => revoked.has(name)).map(([, one]) => ({ ...one })),
      version,
    };
  }

  #give(member: Member, name: string, topic: string, partition: number): void {
    const one = { topic, partition, generation: this.generation };
    member.has.set(name, one);
    member.version += 1n;
    this.given.push({ ...one, memberId: member.id });
  }

  /** Even, and whoever has more than its share gives up the last ones. */
  #balance(): void {
    const members = [...this.members.values()];
    this.generation += 1n;
    const topics = new Set(members.flatMap((member) => member.topics));
    const names = [...topics].flatMap((topic) =>
      (this.#broker.topics.get(topic)?.partitions ?? []).map((_, partition) => ({ topic, partition })),
    );
    const owners = this.owners;
    for (const [index, member] of members.entries()) {
      const share = Math.floor(names.length / members.length) + Number(index < names.length % members.length);
      const kept = [...member.has.keys()];
      for (const [at, name] of kept.entries()) {
        const isExtra = at >= share;
        if (isExtra === member.revoked.has(name)) continue;
        if (isExtra) member.revoked.set(name, this.#clock.monotonicMs());
        else member.revoked.delete(name);
        member.version += 1n;
      }
      for (const { topic, partition } of names) {
        const name = `${topic}/${partition}`;
        if (member.has.size >= share || owners.has(name)) continue;
        owners.set(name, member.id);
        this.#give(member, name, topic, partition);
      }
    }
    for (const wake of this.#waiters.splice(0)) wake();
  }

  #claim({ topic, partition, generation }: Named): unknown {
    const { offsets } = this.#broker.partition(topic, partition);
    const row = offsets.get('g') ?? { offset: undefined, generation: 0n, metadata: '' };
    if (generation > 0n && generation < row.generation)
      return {
        metadata: '',
        generation: row.generation,
        error: errorToMessage(refusal('GENERATION_FENCED')),
      };
    row.generation = generation > row.generation ? generation : row.generation;
    offsets.set('g', row);
    return { ...row };
  }

  #commit({ topic, partition, generation, offset }: Named & { offset: bigint }): unknown {
    const held = this.#broker.partition(topic, partition);
    const row = held.offsets.get('g') ?? { offset: undefined, generation: 0n, metadata: '' };
    if (generation < row.generation) {
      this.refusedCommits += 1;
      return { error: errorToMessage(refusal('GENERATION_FENCED')) };
    }
    held.offsets.set('g', { ...row, offset, generation });
    this.commits.push({ topic, partition, offset: Number(offset), generation });
    return {};
  }
}
