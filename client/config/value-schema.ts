import { HoldfastError } from '../error.ts';
import type { ConfigEntry } from './config-entry.ts';

/** What Zod, Valibot, ArkType and others offer (https://standardschema.dev), as far as it is used here. */
export interface StandardSchema<T = unknown> {
  readonly '~standard': {
    readonly validate: (value: unknown) => StandardResult<T> | Promise<StandardResult<T>>;
  };
}

/** What a schema says of a value. */
export type StandardResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] };

/**
 * How a value is read: a function, which throws when the value is not right, or a schema for
 * the value parsed as JSON, which may not be asynchronous.
 */
export type ValueSchema<T> = ((entry: ConfigEntry) => T) | StandardSchema<T>;

/** Reads a value; throws when it is not right. */
export function readValue<T>(schema: ValueSchema<T>, entry: ConfigEntry): T {
  if (!isStandard(schema)) return schema(entry);
  const result = schema['~standard'].validate(entry.json());
  if (result instanceof Promise) throw new TypeError('a schema for a view cannot be asynchronous');
  if (result.issues === undefined) return result.value;
  throw new TypeError(result.issues.map(({ message }) => message).join('; '));
}

/** Whether it is a schema; some of them are functions, too. */
export function isStandard<T>(schema: ValueSchema<T> | object): schema is StandardSchema<T> {
  return '~standard' in schema;
}

/** The error of a value that is not right. */
export function badValue(entry: ConfigEntry, cause: unknown): HoldfastError {
  const what = cause instanceof Error ? cause.message : String(cause);
  const message = `the value of ${JSON.stringify(entry.key)} at revision ${entry.modRevision} is not right: ${what}`;
  return new HoldfastError({ reason: 'INVALID_FIELD', message, field: 'value', cause });
}
