/**
 * All keys as of one revision, in the same bytes on every node: for checksums and copies. One
 * after the other by key, an `mvccpb.KeyValue` each, behind its length as a varint.
 */
import { sizeDelimitedEncode } from '@bufbuild/protobuf/wire';
import { KeyValueSchema } from '@holdfast/proto/etcd/kv';
import { ConfigSort } from '../../coordination/config-command.ts';
import type { ConfigReads } from '../../coordination/config-reads.ts';
import { binaryString } from '../../storage/row-key.ts';
import { keyValue } from './etcd-keys.ts';

/** Keys of a part. */
const PART_KEYS = 1_000;

/** In parts, none of them empty. Error: REVISION_COMPACTED, also between parts. */
export async function* keyImage(
  reads: ConfigReads,
  revision: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const order = { limit: PART_KEYS, keysOnly: false, countOnly: false, sortBy: ConfigSort.key };
  for (let start: string | undefined = ''; start !== undefined;) {
    const span = { start, end: undefined };
    const { entries, more } = await reads.list({ ...order, span, isDescending: false }, revision, signal);
    if (entries.length > 0)
      yield Buffer.concat(entries.map((entry) => sizeDelimitedEncode(KeyValueSchema, keyValue(entry))));
    start = more ? `${binaryString(entries.at(-1)!.key)}\0` : undefined;
  }
}
