/** `WatchMembers`: first all members, then those of which something else is known than was told. */
import { create, equals, type MessageInitShape } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import {
  Liveness,
  MemberStatusSchema,
  WatchMembersResponseSchema,
  type MemberStatus,
  type WatchMembersResponse,
} from '@holdfast/proto/cluster/v1/cluster';
import type { LifeState } from '../cluster/gossip/node-record.ts';
import { memberMessage } from '../cluster/member-codec.ts';
import type { SeenMember, SeenMembers } from '../cluster/seen-members.ts';
import type { CallContext } from './handler.ts';

/** A follower that was told nothing for so long is told that nothing has changed. */
const HEARTBEAT_MS = 10_000;

const LIVENESS: Readonly<Record<LifeState, Liveness>> = {
  alive: Liveness.ALIVE,
  suspect: Liveness.SUSPECT,
  dead: Liveness.DEAD,
  left: Liveness.LEFT,
};

/** What a node is held for, as it is told. */
export function livenessOf(state: LifeState | undefined): Liveness {
  return state === undefined ? Liveness.UNSPECIFIED : LIVENESS[state];
}

/** What is told of a member; `isAlive`: whether it answers, as whoever asks found out. */
export function memberStatus(
  { member, state, told, replicas }: SeenMember,
  isAlive = state === 'alive',
): MemberStatus {
  const status: MessageInitShape<typeof MemberStatusSchema> = {
    member: memberMessage(member),
    alive: isAlive,
    replicas,
    liveness: livenessOf(state),
  };
  if (told === undefined) return create(MemberStatusSchema, status);
  const { zone, datacentre, version, load, start } = told;
  return create(MemberStatusSchema, { ...status, zone, datacentre, version, load, starts: BigInt(start) });
}

export interface MemberWatchOptions {
  readonly seen: SeenMembers;
  readonly clock: Clock;
  /** Aborted when the node is to stop. */
  readonly stopping: AbortSignal;
}

/** Reads what is known anew whenever the reader has room: what comes together meanwhile is told at once. */
export async function* watchMembers(
  { seen, clock, stopping }: MemberWatchOptions,
  { signal }: Pick<CallContext, 'signal'>,
): AsyncIterable<WatchMembersResponse> {
  const news = new News(clock, AbortSignal.any([signal, stopping]));
  const stopFollowing = seen.follow(() => news.note());
  let told: ReadonlyMap<number, MemberStatus> | undefined;
  try {
    while (!signal.aborted) {
      stopping.throwIfAborted();
      const { members, movingGroups } = seen.list();
      const now = new Map(members.map((one) => [one.member.id, memberStatus(one)]));
      const before: ReadonlyMap<number, MemberStatus> = told ?? new Map();
      yield create(WatchMembersResponseSchema, {
        whole: told === undefined,
        members: [...now].flatMap(([id, status]) => (isSame(before.get(id), status) ? [] : [status])),
        gone: [...before.keys()].filter((id) => !now.has(id)),
        movingGroups,
        node: seen.self,
      });
      told = now;
      await news.come(HEARTBEAT_MS);
    }
  } finally {
    stopFollowing();
  }
}

function isSame(before: MemberStatus | undefined, now: MemberStatus): boolean {
  return before !== undefined && equals(MemberStatusSchema, before, now);
}

/** That something may have changed. */
class News {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  #hasCome = false;
  #wake: () => void = () => undefined;

  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
  }

  note(): void {
    this.#hasCome = true;
    this.#wake();
  }

  /** Resolves when there was one since this was last asked, after `withinMs`, or when the signal aborts. */
  async come(withinMs: number): Promise<void> {
    if (!this.#hasCome && !this.#signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          timer.cancel();
          this.#signal.removeEventListener('abort', wake);
          resolve();
        };
        const timer = this.#clock.setTimer(withinMs, wake);
        this.#signal.addEventListener('abort', wake, { once: true });
        this.#wake = wake;
      });
    }
    this.#hasCome = false;
  }
}
