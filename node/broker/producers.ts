/** Identities of producers: ids that are given out once, and epochs of those with a name. */
import { HoldfastError } from '@holdfast/client/error';
import type { ClusterTree } from '../cluster/cluster-tree.ts';
import { compared, counter } from '../cluster/group-numbers.ts';
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';

const NEXT_PRODUCER = '/holdfast/producer-ids/next';
const NAMED = '/holdfast/producers/';
const ATTEMPTS = 50;
/** Epochs are 32 bits; nobody is to come to their end. */
const LAST_EPOCH = 0xffff_fffe;

/** Who a producer is. */
export interface ProducerIdentity {
  readonly producerId: number;
  readonly epoch: number;
}

export interface ProducersOptions {
  readonly tree: ClusterTree;
  /** Resolves when the tree here is of now. */
  readonly catchUp: () => Promise<void>;
}

export class Producers {
  readonly #options: ProducersOptions;

  constructor(options: ProducersOptions) {
    this.#options = options;
  }

  /** A new id; of a name that was given before, its id with a greater epoch. Errors: OVERLOADED, NOT_LEADER. */
  async begin(name: string, anywhere: boolean): Promise<ProducerIdentity> {
    const { tree, catchUp } = this.#options;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      await catchUp();
      const key = NAMED + Buffer.from(name).toString('hex');
      const before = name === '' ? undefined : decode(tree.get(key)?.value);
      const isKnown = before !== undefined && before.epoch < LAST_EPOCH;
      const id = counter(tree, NEXT_PRODUCER);
      const identity: ProducerIdentity = isKnown
        ? { producerId: before.producerId, epoch: before.epoch + 1 }
        : { producerId: id.next, epoch: 0 };
      const named = name === '' ? [] : [{ key, value: encode(identity) }];
      const transaction = {
        comparisons: [...(isKnown ? [] : [id.comparison]), ...(name === '' ? [] : [compared(tree, key)])],
        changes: [...(isKnown ? [] : [id.advance(1)]), ...named],
      };
      if ((await tree.transact(transaction, anywhere)).succeeded) return identity;
    }
    throw new HoldfastError({
      reason: 'OVERLOADED',
      message: 'too many producers begin at once. Nothing was changed; try again.',
      outcome: 'NOT_APPLIED',
      retryAfterMs: 200,
    });
  }
}

function encode({ producerId, epoch }: ProducerIdentity): Uint8Array {
  return new ByteWriter(12).u64(producerId).u32(epoch).finish();
}

function decode(value: Uint8Array | undefined): ProducerIdentity | undefined {
  if (value === undefined) return undefined;
  const reader = new ByteReader(value);
  return { producerId: reader.u64(), epoch: reader.u32() };
}
