import { expect, test } from 'vitest';
import { KvRig, bytes } from './kv-rig.ts';

const MiB = 1_048_576;
const KEY = bytes('large');

const get = { operation: { case: 'get' as const, value: KEY } };
const remove = {
  operation: {
    case: 'mutation' as const,
    value: { key: KEY, operation: { case: 'delete' as const, value: {} } },
  },
};

function times<T>(count: number, each: T): T[] {
  return Array.from({ length: count }, () => each);
}

test('a transaction whose reads give more than 8 MiB is refused, and changes nothing', async () => {
  const rig = await KvRig.start();
  await rig.put({ key: KEY, value: new Uint8Array(MiB) });
  await expect(rig.transact({ thenOperations: [...times(9, get), remove] })).rejects.toMatchObject({
    reason: 'BATCH_TOO_LARGE',
    outcome: 'NOT_APPLIED',
    actual: String(9 * MiB),
    limit: String(8 * MiB),
  });
  expect((await rig.get({ key: KEY })).entry?.value).toHaveLength(MiB);
  expect((await rig.transact({ thenOperations: [...times(8, get), remove] })).results).toHaveLength(9);
  expect((await rig.get({ key: KEY })).entry).toBeUndefined();
});
