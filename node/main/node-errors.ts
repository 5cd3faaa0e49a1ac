/** What a node says that does not serve yet, or no longer. */
import { HoldfastError } from '@holdfast/client/error';

export function startingError(waitsFor: string): HoldfastError {
  return new HoldfastError({
    reason: 'STARTING',
    message: `the node is starting${waitsFor === '' ? '' : `: ${waitsFor}`}. Nothing was done; try again, or ask another node.`,
    outcome: 'NOT_APPLIED',
    retryAfterMs: 200,
  });
}

export function stoppingError(): HoldfastError {
  return new HoldfastError({
    reason: 'SHUTTING_DOWN',
    message: 'the node is stopping. Nothing was done; ask another node, or this one again when it is back.',
    outcome: 'NOT_APPLIED',
    retryAfterMs: 500,
  });
}
