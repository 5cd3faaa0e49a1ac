/**
 * The copy of all keys that `Maintenance.Snapshot` streams. What is in it is ours, not a database
 * of etcd's: eight letters, the version of this format and the revision, each as eight bytes, big
 * end first, then the keys as key-image.ts has them, and zeros. What goes around it is etcd's,
 * which its clients check: a multiple of 512 bytes, and behind it their SHA-256.
 */
import { createHash } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { SnapshotResponseSchema, type SnapshotResponse } from '@holdfast/proto/etcd/rpc';
import type { Configuration } from '../../coordination/configuration.ts';
import type { CallContext } from '../handler.ts';
import type { HeaderOf } from './etcd-header.ts';
import { keyImage } from './key-image.ts';

const MAGIC = Buffer.from('HFCONFIG');
const VERSION = 1n;
const BLOCK_BYTES = 512;

export async function* etcdSnapshot(
  configuration: Configuration,
  header: HeaderOf,
  context: CallContext,
): AsyncGenerator<SnapshotResponse> {
  const { reads } = configuration;
  await configuration.awaitRead(context);
  const { revision } = configuration.figures;
  let remaining = MAGIC.length + 16;
  for await (const part of keyImage(reads, revision, context.signal)) remaining += part.length;
  const padding = (BLOCK_BYTES - (remaining % BLOCK_BYTES)) % BLOCK_BYTES;
  remaining += padding;
  const hash = createHash('sha256');
  const next = (blob: Uint8Array) => {
    hash.update(blob);
    remaining -= blob.length;
    const bytes = blob as Uint8Array<ArrayBuffer>;
    return create(SnapshotResponseSchema, {
      header: header(revision),
      blob: bytes,
      remainingBytes: BigInt(remaining),
    });
  };
  yield next(preamble(revision));
  for await (const part of keyImage(reads, revision, context.signal)) yield next(part);
  if (padding > 0) yield next(Buffer.alloc(padding));
  const blob = hash.digest() as Uint8Array<ArrayBuffer>;
  yield create(SnapshotResponseSchema, { header: header(revision), blob });
}

function preamble(revision: number): Uint8Array {
  const numbers = Buffer.alloc(16);
  numbers.writeBigUInt64BE(VERSION, 0);
  numbers.writeBigUInt64BE(BigInt(revision), 8);
  return Buffer.concat([MAGIC, numbers]);
}
