import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import { type Sequence, SequenceSchema } from '@holdfast/proto/kv/v1/kv';
import type { ClientCore } from './core.ts';
import { timeoutMs } from './duration.ts';
import type { CallOptions } from './keyspace-options.ts';
import { callUnary, type UnaryOptions } from './unary.ts';

// Calls to group 0: configuration, leases, locks, elections, sequences.

/** Milliseconds of a call: what its options say, else the client's. */
export function callTimeoutMs(core: ClientCore, options: CallOptions): number {
  return options.timeout === undefined ? core.timeoutMs : timeoutMs(options.timeout);
}

/** Reads, or changes in a way that a repeat does not change again. `more`: how. */
export function callCoordinator<I extends DescMessage, O extends DescMessage>(
  core: ClientCore,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
  options: CallOptions = {},
  more: UnaryOptions = {},
): Promise<MessageShape<O>> {
  return callUnary(core, method, create(method.input, request), {
    timeoutMs: callTimeoutMs(core, options),
    signal: options.signal,
    isCoordination: true,
    ...more,
  });
}

/** A message of a write that is applied once. */
export type SequencedMessage = { sequence?: Sequence | undefined };

/** Writes with a sequence of its own, so that it is applied once, however often it is sent. */
export function writeToCoordinator<I extends DescMessage, O extends DescMessage>(
  core: ClientCore,
  method: DescMethodUnary<I, O>,
  request: MessageShape<I> & SequencedMessage,
  options: CallOptions = {},
  more: UnaryOptions = {},
): Promise<MessageShape<O>> {
  const timeout = callTimeoutMs(core, options);
  const number = core.sequences.next();
  const sequence = sequenceOf(core, number, core.coordinator.mustOpen);
  request.sequence = sequence;
  return callUnary(core, method, request as MessageShape<I>, {
    timeoutMs: timeout,
    signal: options.signal,
    isWrite: true,
    sequence: number,
    reopen: () => (sequence.open = true),
    isCoordination: true,
    ...more,
  });
}

/** The identity of a write, as it travels. */
export function sequenceOf({ sequences }: ClientCore, number: number, open: boolean): Sequence {
  const { clientId, ackedBelow } = sequences;
  return create(SequenceSchema, {
    clientId,
    sequence: BigInt(number),
    ackedBelow: BigInt(ackedBelow),
    open,
  });
}
