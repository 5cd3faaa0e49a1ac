/** What a refusal says to programs, whether it was thrown or stands in a result. */
import type { Error as ErrorMessage } from '@holdfast/proto/error/v1/error';
import { expect } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { errorFromMessage, errorToMessage } from '../../client/error-mapping.ts';

/** All but the sentence, which must say what became of it. */
export function facts(message: ErrorMessage | undefined) {
  if (message === undefined) throw new Error('it was not refused');
  const { code, reason, field, actual, limit, outcome } = errorFromMessage(message);
  expect(message.message).toMatch(/Nothing was (done|kept|read|changed|created|stored)/);
  return { code, reason, field, actual, limit, outcome };
}

/** Those of the error that a call ends in. */
export async function refused(call: Promise<unknown>) {
  const error = await call.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(HoldfastError);
  return facts(errorToMessage(error as HoldfastError));
}
