/** What nodes of the world say while they do not serve, as node/main/node.ts does. */
import { HoldfastError } from '../../../client/error.ts';

export function stoppingError(): HoldfastError {
  return new HoldfastError({
    reason: 'SHUTTING_DOWN',
    message: 'the node is stopping. Nothing was done.',
    outcome: 'NOT_APPLIED',
    retryAfterMs: 500,
  });
}

export function startingError(): HoldfastError {
  return new HoldfastError({
    reason: 'STARTING',
    message: 'the node is starting. Nothing was done.',
    outcome: 'NOT_APPLIED',
    retryAfterMs: 200,
  });
}
