/** Who is there, over all streams that following it takes. */
import { create } from '@bufbuild/protobuf';
import {
  ClusterService,
  WatchMembersRequestSchema,
  type WatchMembersResponse,
} from '@holdfast/proto/cluster/v1/cluster';
import { sleep } from './clock.ts';
import type { MemberUpdate } from './cluster.ts';
import { blamesEndpoint, cancelled, clientClosed, type ClientCore } from './core.ts';
import { HoldfastError } from './error.ts';
import { statusOf, type MemberStatus } from './member-status.ts';
import { mayRetry, retryDelayMs } from './retry.ts';
import { asHoldfastError } from './unary.ts';

/** A node says something every 10 s; one that is silent for twice as long hangs. */
const SILENCE_MS = 20_000;
const LONGEST_CALL_MS = 300_000;

/** See `Cluster.watchMembers`. */
export async function* followMembers(
  core: ClientCore,
  signal: AbortSignal | undefined,
): AsyncGenerator<MemberUpdate, void, undefined> {
  const known = new KnownMembers();
  for (let attempts = 1; ; attempts += 1) {
    const endpoint = core.endpoints.pick();
    try {
      for await (const answer of watch(core, endpoint, signal)) {
        attempts = 0;
        core.endpoints.answered(endpoint);
        const update = known.take(answer);
        if (update !== undefined) yield update;
      }
      throw new HoldfastError({ reason: 'UNAVAILABLE', message: `${endpoint} has ended the stream` });
    } catch (cause) {
      await pause(core, asHoldfastError(cause), endpoint, attempts, signal);
    }
  }
}

/** The members as of the answers so far. */
class KnownMembers {
  #members = new Map<number, MemberStatus>();
  #movingGroups = -1;

  /** What an answer has of news; undefined: none. */
  take({ whole, members, gone, movingGroups, node }: WatchMembersResponse): MemberUpdate | undefined {
    const before = this.#members;
    const after = whole ? new Map<number, MemberStatus>() : new Map(before);
    for (const status of members.map(statusOf)) after.set(status.id, status);
    for (const id of gone) after.delete(id);
    this.#members = after;
    const changed = [...after.values()].filter((status) => !isSame(before.get(status.id), status));
    const lost = [...before.values()].filter(({ id }) => !after.has(id));
    const isNews = changed.length > 0 || lost.length > 0 || movingGroups !== this.#movingGroups;
    this.#movingGroups = movingGroups;
    if (!isNews) return undefined;
    const all = [...after.values()].sort((a, b) => a.id - b.id);
    return { members: all, changed, gone: lost.map(({ name }) => name), movingGroups, node };
  }
}

function isSame(before: MemberStatus | undefined, now: MemberStatus): boolean {
  const fields = Object.keys(now) as (keyof MemberStatus)[];
  return before !== undefined && fields.every((field) => before[field] === now[field]);
}

async function* watch(
  core: ClientCore,
  endpoint: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<WatchMembersResponse, void, undefined> {
  const silence = new AbortController();
  const signals = [core.closing, silence.signal, ...(signal === undefined ? [] : [signal])];
  const options = { timeoutMs: LONGEST_CALL_MS, signal: AbortSignal.any(signals) };
  const isSilent = () => silence.abort();
  let timer = core.clock.setTimer(SILENCE_MS, isSilent);
  try {
    const method = ClusterService.method.watchMembers;
    const request = create(WatchMembersRequestSchema);
    for await (const answer of core.transport.serverStream(endpoint, method, request, options)) {
      timer.cancel();
      yield answer;
      timer = core.clock.setTimer(SILENCE_MS, isSilent);
    }
  } catch (error) {
    if (!silence.signal.aborted) throw error;
    const message = `${endpoint} has not said a word for ${SILENCE_MS / 1_000} s`;
    throw new HoldfastError({ reason: 'UNAVAILABLE', message, cause: error });
  } finally {
    timer.cancel();
  }
}

/** Returns when it may go on; throws when it may not. */
async function pause(
  core: ClientCore,
  error: HoldfastError,
  endpoint: string,
  attempts: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (core.closing.aborted) throw clientClosed();
  if (signal?.aborted) throw cancelled(signal);
  if (blamesEndpoint(error, Math.max(1, attempts))) core.endpoints.failed(endpoint);
  if (error.reason === 'DEADLINE_EXCEEDED') return; // a call is shorter than the following
  if (!mayRetry(error, { isWrite: false, sequence: 0, attempts, lost: false })) throw error;
  const delayMs = retryDelayMs(error, Math.max(1, attempts), core.random);
  const either = AbortSignal.any([core.closing, ...(signal === undefined ? [] : [signal])]);
  await sleep(core.clock, delayMs, either).catch(() => undefined);
}
