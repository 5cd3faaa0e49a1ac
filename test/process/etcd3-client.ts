/**
 * The npm package `etcd3`, for tests. Under the conditions by which the tests resolve packages its
 * protobuf does not find the numbers of 64 bits that it needs, and rounds all: so it is given them.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const requireAsEtcd3 = createRequire(fileURLToPath(import.meta.resolve('etcd3')));
const { default: Long } = requireAsEtcd3('long') as { default: unknown };
Object.assign(globalThis, { Long });

export const {
  Etcd3,
  EtcdAuthenticationFailedError,
  EtcdLeaseInvalidError,
  EtcdLockFailedError,
  EtcdPermissionDeniedError,
  GRPCInvalidArgumentError,
  GRPCUnavailableError,
  NotCampaigningError,
} = await import('etcd3');
