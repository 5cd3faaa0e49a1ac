/** etcd's KV on three nodes, of which those that follow apply later than the one that leads. */
import { KV, type PutResponse, type RangeResponse } from '@holdfast/proto/etcd/rpc';
import { expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { etcdHeader } from '../../node/services/etcd/etcd-header.ts';
import { etcdKvService } from '../../node/services/etcd/etcd-kv.ts';
import { DEFAULT_ETCD_LIMITS } from '../../node/services/etcd/etcd-limits.ts';
import type { CallContext, Handlers } from '../../node/services/handler.ts';
import { SmallCluster, type SmallNode } from '../raft/small-cluster.ts';
import { ask, text } from './etcd-rig.ts';
import { SessionServices } from './session-services.ts';

const WRITES = 20;

function on({ engine, clock }: SmallNode): { kv: Handlers<typeof KV>; context: () => CallContext } {
  const { handlers } = etcdKvService({
    ...engine!,
    header: etcdHeader(engine!),
    limits: DEFAULT_ETCD_LIMITS,
  });
  const services = new SessionServices(engine!, clock);
  return { kv: handlers as Handlers<typeof KV>, context: () => services.context() };
}

test('a revision that one node told of is read on each, whatever it has applied', async () => {
  const cluster = await SmallCluster.start('etcd', 3, 0, true);
  await cluster.until(() => cluster.leaderOf(0) !== undefined);
  const settle = <T>(work: Promise<T>) => cluster.world.settle(work, 60_000);
  const range = (node: SmallNode, revision: bigint): Promise<RangeResponse> => {
    const { kv, context } = on(node);
    return kv.range(
      context(),
      ask.range('k', '', { revision, serializable: true }),
    ) as Promise<RangeResponse>;
  };
  const leader = cluster.leaderOf(0)!;
  let behind = 0;
  let last = 0n;
  for (let at = 0; at < WRITES; at++) {
    const { kv, context } = on(leader);
    const put = kv.put(context(), ask.put('k', `${at}`)) as Promise<PutResponse>;
    last = (await settle(put)).header!.revision;
    const answers = cluster.nodes.map((node) => {
      if (node.engine!.configuration.reads.revision < Number(last)) behind++;
      return range(node, last);
    });
    for (const answer of await settle(Promise.all(answers)))
      expect(answer.kvs.map(({ value }) => text(value))).toEqual([`${at}`]);
  }
  expect(behind).toBeGreaterThan(WRITES);
  // What nobody has told of is in the future on all of them.
  for (const node of cluster.nodes) {
    const error = await settle(range(node, last + 1n).catch((failure: unknown) => failure));
    expect(error).toBeInstanceOf(HoldfastError);
    expect((error as HoldfastError).code).toBe('OUT_OF_RANGE');
  }
});
