/** A process that takes all the locks it is told of, holds them, and says when it heard what. */
import { connect } from '@holdfast/client';
import { nowUs } from './lock-clock.ts';
import type { ContenderNews, ContenderOrders } from './lock-contender.ts';

const { endpoints, locks, ttlMs } = JSON.parse(process.argv[2] ?? '{}') as ContenderOrders;
const tell = (news: ContenderNews) => process.send?.(news);
process.on('disconnect', () => process.exit(0));
const holdfast = await connect({ endpoints: [...endpoints], timeout: 60_000 });

async function hold(lock: string): Promise<void> {
  const askedUs = nowUs();
  await using session = await holdfast.session({ ttl: ttlMs });
  const held = await holdfast.lock.acquire(lock, { session, wait: 60_000 });
  const token = String(held.token);
  held.signal.addEventListener('abort', () =>
    tell({ what: 'ended', lock, token, atUs: nowUs(), how: 'lost' }),
  );
  tell({ what: 'held', lock, session: String(session.id), token, askedUs, atUs: nowUs() });
  await new Promise(() => undefined);
}

await Promise.all(locks.map(hold));
