/** `v3lockpb.Lock`: locks made of keys, as etcd's server and its client libraries make them. */
import { create } from '@bufbuild/protobuf';
import { Lock, LockResponseSchema, UnlockResponseSchema } from '@holdfast/proto/etcd/v3lock';
import { DeleteRangeRequestSchema } from '@holdfast/proto/etcd/rpc';
import type { Configuration } from '../../coordination/configuration.ts';
import { binaryBytes } from '../../storage/row-key.ts';
import { serve, type ServedService } from '../handler.ts';
import { asEtcd } from './etcd-error.ts';
import type { HeaderOf } from './etcd-header.ts';
import { deleteOperation } from './etcd-transaction.ts';
import type { EtcdTurns } from './etcd-turns.ts';

const NOTHING = new Uint8Array(0);

export interface EtcdLockOptions {
  readonly configuration: Configuration;
  readonly turns: EtcdTurns;
  readonly header: HeaderOf;
}

export function etcdLockService({ configuration, turns, header }: EtcdLockOptions): ServedService {
  return serve(Lock, {
    lock: (context, { name, lease }) =>
      asEtcd(async () => {
        const session = await turns.session(lease, context);
        const place = await turns.enter(name, session, NOTHING, context);
        const revision = await turns.awaitTurn(place, context);
        return create(LockResponseSchema, { header: header(revision), key: binaryBytes(place.key) });
      }),

    unlock: (context, { key }) =>
      asEtcd(async () => {
        const remove = deleteOperation(create(DeleteRangeRequestSchema, { key }));
        const { deadlineMs, isRouted, grant } = context;
        const transaction = { comparisons: [], thenOperations: [remove], elseOperations: [] };
        const terms = { deadlineMs, isRouted, grant, grows: false, identity: undefined };
        const { revision } = await configuration.transact(transaction, terms);
        return create(UnlockResponseSchema, { header: header(revision) });
      }),
  });
}
