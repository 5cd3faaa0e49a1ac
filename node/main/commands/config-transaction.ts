import { readFileSync } from 'node:fs';
import type {
  ConfigEntry,
  ConfigOperation,
  ConfigOperationResult,
  ConfigTransaction,
  ConfigTransactionResult,
} from '@holdfast/client';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { usageFailure } from '../command-failure.ts';
import { printJson } from '../output.ts';
import { configEntryJson } from './config-reads.ts';
import { standardInput } from './kv-options.ts';

/** `holdfast config txn`. */
export async function transact(file: string | undefined, options: ClusterOptions): Promise<void> {
  const transaction = parsed(await textOf(file));
  const result = await withCluster(options, (client, signal) =>
    client.config.transaction(transaction, { signal }),
  );
  return printJson(transactionJson(transaction, result));
}

async function textOf(file: string | undefined): Promise<string> {
  if (file === undefined || file === '-') return Buffer.from(await standardInput()).toString();
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw usageFailure(`${file} cannot be read: ${(error as Error).message}`);
  }
}

/** What it says is for the client and the cluster to check; here only that it says what it can. */
function parsed(text: string): ConfigTransaction {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw usageFailure(`the transaction is not JSON: ${(error as Error).message}`);
  }
  return transactionOf(value, 'transaction') as ConfigTransaction;
}

type Fields = Record<string, unknown>;

const PARTS = ['if', 'then', 'else'];
const SELECTIONS = ['key', 'prefix', 'start', 'end'];
const COMPARED = ['exists', 'value', 'version', 'modRevision', 'createRevision', 'lease'];
const WRITES = ['ifModRevision', 'returnPrevious'];
/** Operations, and what else each may say. */
const OPERATIONS: Readonly<Record<string, readonly string[]>> = {
  get: [],
  list: ['limit', 'keysOnly', 'sortBy', 'descending'],
  put: ['value', 'lease', 'keepLease', 'ifAbsent', ...WRITES],
  delete: WRITES,
  transaction: [],
};
/** Numbers of 64 bits: JSON readers lose digits of larger ones, so they may stand as text, as --json shows them. */
const NUMBERS = ['version', 'modRevision', 'createRevision', 'lease', 'ifModRevision'];

function transactionOf(value: unknown, at: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw usageFailure(`${at} must be an object with if, then and else`);
  const transaction: Fields = {};
  for (const [part, items] of Object.entries(value)) {
    if (!PARTS.includes(part))
      throw usageFailure(`${at}.${part} is not known; there are ${PARTS.join(', ')}`);
    if (!Array.isArray(items)) throw usageFailure(`${at}.${part} must be a list`);
    const read = part === 'if' ? conditionOf : operationOf;
    transaction[part] = items.map((item, index) => read(item, `${at}.${part}[${index}]`));
  }
  return transaction;
}

function conditionOf(item: unknown, at: string): Fields {
  const condition = fieldsOf(item, at);
  if (!['key', 'prefix', 'start'].some((name) => name in condition))
    throw usageFailure(`${at} must name a key, prefix or start`);
  if (COMPARED.filter((name) => name in condition).length !== 1)
    throw usageFailure(`${at} must say one thing to compare: ${COMPARED.join(', ')}`);
  return known(condition, [...SELECTIONS, ...COMPARED, 'is'], at);
}

function operationOf(item: unknown, at: string): Fields {
  const operation = fieldsOf(item, at);
  const names = Object.keys(OPERATIONS);
  const [name, ...more] = names.filter((one) => one in operation);
  if (name === undefined || more.length > 0) throw usageFailure(`${at} must be one of ${names.join(', ')}`);
  if (name === 'put' && typeof operation['value'] !== 'string')
    throw usageFailure(`${at}.value must be text`);
  if (name === 'transaction')
    operation['transaction'] = transactionOf(operation['transaction'], `${at}.transaction`);
  return known(operation, [name, ...OPERATIONS[name]!], at);
}

/** An object with its names as the client has them: mod_revision of --json is modRevision. */
function fieldsOf(item: unknown, at: string): Fields {
  if (typeof item !== 'object' || item === null || Array.isArray(item))
    throw usageFailure(`${at} must be an object`);
  const fields: Fields = {};
  for (const [name, value] of Object.entries(item))
    fields[name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())] = value;
  for (const name of NUMBERS) if (name in fields) fields[name] = numberOf(fields[name], `${at}.${name}`);
  return fields;
}

function known(fields: Fields, names: readonly string[], at: string): Fields {
  const other = Object.keys(fields).find((name) => !names.includes(name));
  if (other === undefined) return fields;
  throw usageFailure(`${at}.${other} is not known; there are ${names.join(', ')}`);
}

function numberOf(value: unknown, at: string): bigint {
  if (Number.isSafeInteger(value)) return BigInt(value as number);
  if (typeof value === 'string' && /^\d{1,20}$/.test(value)) return BigInt(value);
  throw usageFailure(`${at} must be a whole number, or its digits as text`);
}

function transactionJson(
  transaction: ConfigTransaction,
  { succeeded, revision, results }: ConfigTransactionResult,
): Record<string, unknown> {
  const done = (succeeded ? transaction.then : transaction.else) ?? [];
  const shownResults = done.map((operation, index) => resultJson(operation, results[index] ?? {}));
  return { succeeded, revision: String(revision), results: shownResults };
}

/** What an operation did. What was there before only if it was asked for: null would say that there was nothing. */
function resultJson(operation: ConfigOperation, result: ConfigOperationResult): Record<string, unknown> {
  const { list, deleted, transaction } = result;
  if ('transaction' in operation)
    return { transaction: transactionJson(operation.transaction, transaction!) };
  if ('get' in operation) return { entry: shown(result.entry) };
  if ('list' in operation) {
    const entries = list!.entries.map((entry) => configEntryJson(entry, operation.keysOnly));
    return { entries, more: list!.more };
  }
  if ('put' in operation) return operation.returnPrevious ? { previous: shown(result.previous) } : {};
  const previous = deleted!.previous.map((entry) => configEntryJson(entry));
  return { deleted: deleted!.deleted, ...(operation.returnPrevious && { previous }) };
}

function shown(entry: ConfigEntry | undefined): Record<string, unknown> | null {
  return entry === undefined ? null : configEntryJson(entry);
}
