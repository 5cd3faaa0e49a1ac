/**
 * A process of contenders for locks, started by `lock-soak.ts` and others with what they are
 * to do as its only argument. Each contender is a session of its own: it asks for a lock,
 * writes to what the lock protects with its token while it holds it, and lets go. It tells
 * its parent all that it was told, with times of the clock that all processes of a machine
 * share. Stopped for longer than its session lives, it goes on as if nothing had happened:
 * that is the point.
 */
import { connect, HoldfastError, type Fence, type Holdfast } from '@holdfast/client';
import { between } from '@holdfast/client/random';
import { nowUs } from './lock-clock.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';

/** Some hold a lock for so long that they are likely to be stopped meanwhile. */
const LONG_HOLDS = 0.02;

/** What a process of contenders is to do. */
export interface ContenderOrders {
  readonly endpoints: readonly string[];
  readonly seed: number;
  readonly contenders: number;
  readonly locks: readonly string[];
  readonly keyspace: string;
  readonly ttlMs: number;
  /** How long a contender waits for a lock. */
  readonly waitMs: number;
  /** How long one is held, at most. */
  readonly holdMs: number;
}

/** What contenders tell. Times are microseconds of the machine's monotonic clock. */
export type ContenderNews =
  | {
      readonly what: 'held';
      readonly lock: string;
      readonly session: string;
      readonly token: string;
      readonly askedUs: number;
      readonly atUs: number;
    }
  | {
      readonly what: 'ended';
      readonly lock: string;
      readonly token: string;
      readonly atUs: number;
      readonly how: 'released' | 'lost';
    }
  | {
      readonly what: 'wrote';
      readonly lock: string;
      readonly token: string;
      readonly version: string;
      readonly afterSignal: boolean;
    }
  | { readonly what: 'fenced'; readonly lock: string; readonly token: string }
  | {
      readonly what: 'refused';
      readonly lock: string;
      readonly session: string;
      readonly reason: string;
      readonly atUs: number;
    };

function tell(news: ContenderNews): void {
  process.send?.(news);
}

async function contend(holdfast: Holdfast, orders: ContenderOrders, random: SeededRandom): Promise<void> {
  const resource = holdfast.keyspace(orders.keyspace);
  let session = await holdfast.session({ ttl: orders.ttlMs });
  for (;;) {
    if (session.signal.aborted) session = await holdfast.session({ ttl: orders.ttlMs }).catch(() => session);
    const lock = orders.locks[between(random, 0, orders.locks.length - 1)]!;
    const askedUs = nowUs();
    try {
      const held = await holdfast.lock.acquire(lock, { session, wait: orders.waitMs });
      const token = String(held.token);
      tell({ what: 'held', lock, session: String(session.id), token, askedUs, atUs: nowUs() });
      let isOver = false;
      const end = (how: 'released' | 'lost') => {
        if (!isOver) tell({ what: 'ended', lock, token, atUs: nowUs(), how });
        isOver = true;
      };
      if (held.signal.aborted) end('lost');
      else held.signal.addEventListener('abort', () => end('lost'), { once: true });
      // One write more than the signal allows: whoever has lost the lock must be refused.
      for (let left = between(random, 1, 4); left > 0; left--) {
        const isLong = random.chance(LONG_HOLDS);
        await pause(random.float() * (isLong ? orders.ttlMs : orders.holdMs));
        await write(resource, lock, held.fence, () => isOver);
        if (isOver) break;
      }
      end('released');
      await held.release().catch(() => undefined);
    } catch (error) {
      const reason = error instanceof HoldfastError ? error.reason : String(error);
      tell({ what: 'refused', lock, session: String(session.id), reason, atUs: nowUs() });
      await pause(50);
    }
  }
}

async function write(
  resource: ReturnType<Holdfast['keyspace']>,
  lock: string,
  fence: Fence,
  isLost: () => boolean,
): Promise<void> {
  const token = String(fence.token);
  const afterSignal = isLost();
  try {
    const { version } = await resource.put(`of ${lock}`, token, { fence, timeout: 3_000 });
    tell({ what: 'wrote', lock, token, version: String(version), afterSignal });
  } catch (error) {
    if (error instanceof HoldfastError && error.reason === 'FENCED') tell({ what: 'fenced', lock, token });
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const orders = JSON.parse(process.argv[2] ?? '{}') as ContenderOrders;
process.on('disconnect', () => process.exit(0));
const holdfast = await connect({ endpoints: [...orders.endpoints], timeout: 10_000 });
const random = new SeededRandom(orders.seed);
await Promise.all(
  Array.from({ length: orders.contenders }, (_, at) =>
    contend(holdfast, orders, random.fork(`contender-${at}`)),
  ),
);
