import { readFileSync } from 'node:fs';
import type {
  ConfigEntry,
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
  return printJson(transactionJson(result));
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
  checkTransaction(value, 'transaction');
  return value as ConfigTransaction;
}

const PARTS = ['if', 'then', 'else'];
const OPERATIONS = ['get', 'list', 'put', 'delete', 'transaction'];

function checkTransaction(value: unknown, at: string): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw usageFailure(`${at} must be an object with if, then and else`);
  for (const [part, items] of Object.entries(value)) {
    if (!PARTS.includes(part))
      throw usageFailure(`${at}.${part} is not known; there are ${PARTS.join(', ')}`);
    if (!Array.isArray(items)) throw usageFailure(`${at}.${part} must be a list`);
    for (const [index, item] of items.entries())
      if (part === 'if') checkCondition(item, `${at}.if[${index}]`);
      else checkOperation(item, `${at}.${part}[${index}]`);
  }
}

function checkCondition(item: unknown, at: string): void {
  const condition = asObject(item, at);
  if (!['key', 'prefix', 'start'].some((name) => name in condition))
    throw usageFailure(`${at} must name a key, prefix or start`);
  const compared = ['exists', 'value', 'version', 'modRevision', 'createRevision', 'lease'];
  if (!compared.some((name) => name in condition))
    throw usageFailure(`${at} must say what to compare: ${compared.join(', ')}`);
}

function checkOperation(item: unknown, at: string): void {
  const operation = asObject(item, at);
  if (OPERATIONS.filter((name) => name in operation).length !== 1)
    throw usageFailure(`${at} must be one of ${OPERATIONS.join(', ')}`);
  if ('put' in operation && typeof operation['value'] !== 'string')
    throw usageFailure(`${at}.value must be text`);
  if ('transaction' in operation) checkTransaction(operation['transaction'], `${at}.transaction`);
}

function asObject(item: unknown, at: string): Record<string, unknown> {
  if (typeof item === 'object' && item !== null && !Array.isArray(item))
    return item as Record<string, unknown>;
  throw usageFailure(`${at} must be an object`);
}

function transactionJson({ succeeded, revision, results }: ConfigTransactionResult): Record<string, unknown> {
  return { succeeded, revision: String(revision), results: results.map(resultJson) };
}

function resultJson(result: ConfigOperationResult): Record<string, unknown> {
  const { list, deleted, transaction } = result;
  if (transaction !== undefined) return { transaction: transactionJson(transaction) };
  if (list !== undefined)
    return { entries: list.entries.map((entry) => configEntryJson(entry)), more: list.more };
  if (deleted !== undefined) return { deleted: deleted.deleted };
  if ('entry' in result) return { entry: shown(result.entry) };
  return { previous: shown(result.previous) };
}

function shown(entry: ConfigEntry | undefined): Record<string, unknown> | null {
  return entry === undefined ? null : configEntryJson(entry);
}
