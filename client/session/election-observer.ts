import { create } from '@bufbuild/protobuf';
import {
  ElectionService,
  type Leader as LeaderMessage,
  ObserveRequestSchema,
  type ObserveResponse,
} from '@holdfast/proto/election/v1/election';
import { sleep } from '../clock.ts';
import { blamesEndpoint, cancelled, clientClosed, type ClientCore } from '../core.ts';
import { HoldfastError } from '../error.ts';
import { mayRetry, retryDelayMs } from '../retry.ts';
import { asHoldfastError } from '../unary.ts';

/** A node says something every 3 s; one that is silent for twice as long hangs. */
const SILENCE_MS = 6_000;
const LONGEST_CALL_MS = 300_000;

/** Who leads an election, over all streams that it takes; each change once. */
export async function* observeElection<T>(
  core: ClientCore,
  election: string,
  signal: AbortSignal | undefined,
  leaderOf: (message: LeaderMessage) => T,
): AsyncGenerator<T | undefined, void, undefined> {
  let said: string | undefined;
  let revision = 0n;
  for (let attempts = 1; ; attempts += 1) {
    const endpoint = core.endpoints.pick();
    try {
      for await (const answer of observe(core, endpoint, election, signal)) {
        attempts = 0;
        core.endpoints.answered(endpoint);
        // Another node may be behind the one before it.
        if (answer.revision < revision) continue;
        revision = answer.revision;
        const { leader } = answer;
        const says = leader === undefined ? '' : `${leader.token} ${leader.revision}`;
        if (says === said) continue;
        said = says;
        yield leader && leaderOf(leader);
      }
    } catch (cause) {
      await pause(core, asHoldfastError(cause), endpoint, attempts, signal);
    }
  }
}

async function* observe(
  core: ClientCore,
  endpoint: string,
  election: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<ObserveResponse, void, undefined> {
  const silence = new AbortController();
  const signals = [core.closing, silence.signal, ...(signal === undefined ? [] : [signal])];
  const options = { timeoutMs: LONGEST_CALL_MS, signal: AbortSignal.any(signals) };
  const request = create(ObserveRequestSchema, { election });
  const isSilent = () => silence.abort();
  let timer = core.clock.setTimer(SILENCE_MS, isSilent);
  try {
    const method = ElectionService.method.observe;
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
  if (error.reason === 'DEADLINE_EXCEEDED') return; // A call is shorter than an election.
  if (!mayRetry(error, { isWrite: false, sequence: 0, attempts, lost: false })) throw error;
  const delayMs = retryDelayMs(error, Math.max(1, attempts), core.random);
  await sleep(core.clock, delayMs, signal).catch(() => undefined);
}
