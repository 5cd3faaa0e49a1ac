/** The stream of `WatchMembers`: first all, then what is news, however slow its reader. */
import { Liveness, type WatchMembersResponse } from '@holdfast/proto/cluster/v1/cluster';
import { expect, test } from 'vitest';
import type { LifeState } from '../../node/cluster/gossip/node-record.ts';
import type { SeenMember, SeenMembers } from '../../node/cluster/seen-members.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { watchMembers } from '../../node/services/member-watch.ts';

class Rig {
  readonly world = new SimulatedScheduler();
  readonly caller = new AbortController();
  readonly stopping = new AbortController();
  readonly #states = new Map<number, LifeState>();
  readonly #followers = new Set<() => void>();
  readonly stream: AsyncIterator<WatchMembersResponse>;

  constructor(...states: readonly LifeState[]) {
    states.forEach((state, at) => this.#states.set(at + 1, state));
    const seen = {
      self: 'n1',
      list: () => ({ members: [...this.#states].map(memberOf), movingGroups: 2 }),
      follow: (changed: () => void) => {
        this.#followers.add(changed);
        return () => this.#followers.delete(changed);
      },
    } as unknown as SeenMembers;
    const options = { seen, clock: new SimulatedClock(this.world), stopping: this.stopping.signal };
    this.stream = watchMembers(options, { signal: this.caller.signal })[Symbol.asyncIterator]();
  }

  get followers(): number {
    return this.#followers.size;
  }

  set(id: number, state: LifeState | undefined): void {
    if (state === undefined) this.#states.delete(id);
    else this.#states.set(id, state);
    for (const changed of this.#followers) changed();
  }

  /** The next message, once it has come. */
  async next(withinMs = 1): Promise<string | undefined> {
    let came: string | undefined;
    const asked = this.stream.next().then(({ value, done }) => {
      came = done === true ? 'end' : shown(value as WatchMembersResponse);
    });
    asked.catch(() => undefined);
    await this.world.runUntilTrue(() => came !== undefined, withinMs);
    return came;
  }
}

function memberOf([id, state]: [number, LifeState]): SeenMember {
  const name = `n${id}`;
  const member = { id, name, nodeId: '', grpc: '', http: '', state: 'active', replaces: 0 } as const;
  return { member, state, told: undefined, replicas: 0 };
}

function shown({ whole, members, gone, movingGroups }: WatchMembersResponse): string {
  const told = members.map(({ member, liveness }) => `${member!.name} ${Liveness[liveness]}`).join(' ');
  return `${whole ? 'all' : 'news'}: ${told} gone: ${gone.join(' ')} moving: ${movingGroups}`;
}

test('all members come first, then those of which something else is known, and who is gone', async () => {
  const rig = new Rig('alive', 'alive');
  expect(await rig.next()).toBe('all: n1 ALIVE n2 ALIVE gone:  moving: 2');
  rig.set(2, 'suspect');
  expect(await rig.next()).toBe('news: n2 SUSPECT gone:  moving: 2');
  rig.set(3, 'alive');
  rig.set(1, undefined);
  expect(await rig.next()).toBe('news: n3 ALIVE gone: 1 moving: 2');
});

test('after ten seconds without news comes an empty message', async () => {
  const rig = new Rig('alive');
  await rig.next();
  expect(await rig.next(10_001)).toBe('news:  gone:  moving: 2');
});

test('a slow reader gets the newest of each member, in one message', async () => {
  const rig = new Rig('alive', 'alive', 'alive');
  await rig.next();
  for (let round = 0; round < 1_000; round++)
    for (const state of ['suspect', 'dead', 'alive'] as const) rig.set(2 + (round % 2), state);
  rig.set(3, 'dead');
  expect(await rig.next()).toBe('news: n3 DEAD gone:  moving: 2');
});

test('it ends with the reason of a node that stops, and leaves nothing behind', async () => {
  const rig = new Rig('alive');
  await rig.next();
  expect(rig.followers).toBe(1);
  const next = rig.stream.next();
  const reason = new Error('the node is stopping');
  rig.stopping.abort(reason);
  await expect(next).rejects.toBe(reason);
  expect(rig.followers).toBe(0);
});

test('it ends when its caller has gone', async () => {
  const rig = new Rig('alive');
  await rig.next();
  const next = rig.stream.next();
  rig.caller.abort();
  expect((await next).done).toBe(true);
  expect(rig.followers).toBe(0);
});
