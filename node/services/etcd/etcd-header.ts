/** What answers of etcd's API begin with, and the numbers by which it knows cluster and members. */
import { create } from '@bufbuild/protobuf';
import { ResponseHeaderSchema, type ResponseHeader } from '@holdfast/proto/etcd/rpc';
import type { Coordination } from '../../coordination/coordination.ts';
import type { Identity } from '../../storage/identity.ts';

/** Makes a header: of the given revision, or else of that which is applied on this node. */
export type HeaderOf = (revision?: number) => ResponseHeader;

export interface HeaderOptions {
  readonly identity: Pick<Identity, 'cluster_id' | 'node_id'>;
  readonly coordination: Pick<Coordination, 'revision' | 'term'>;
}

export function etcdHeader({ identity, coordination }: HeaderOptions): HeaderOf {
  const clusterId = etcdId(identity.cluster_id ?? identity.node_id);
  const memberId = etcdId(identity.node_id);
  return (revision = coordination.revision) =>
    create(ResponseHeaderSchema, {
      clusterId,
      memberId,
      revision: BigInt(revision),
      raftTerm: BigInt(coordination.term),
    });
}

/** The number that stands for a cluster or a member: the first 8 bytes of its id, which is hexadecimal. */
export function etcdId(id: string): bigint {
  return BigInt(`0x${id.slice(0, 16)}`);
}
