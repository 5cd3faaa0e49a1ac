import type { ConfigSelection } from '@holdfast/client';
import { usageFailure } from '../command-failure.ts';
import { type KeyOptions, keyArgument } from './kv-options.ts';

/** Options that make a key the beginning of many. */
export interface SelectionOptions extends KeyOptions {
  prefix?: boolean;
  rangeEnd?: string;
}

/** What a key means together with --prefix or --range-end; undefined: that key alone. */
export function selectionArgument(key: string, options: SelectionOptions): ConfigSelection | undefined {
  const { prefix, rangeEnd } = options;
  if (prefix === true && rangeEnd !== undefined)
    throw usageFailure('--prefix and --range-end exclude each other');
  if (prefix === true) return { prefix: keyArgument(key, options) };
  if (rangeEnd === undefined) return undefined;
  return { start: keyArgument(key, options), end: keyArgument(rangeEnd, options) };
}
