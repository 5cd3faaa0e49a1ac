import type {
  ConfigEntry,
  ConfigOperation,
  ConfigOperationResult,
  ConfigTransaction,
  ConfigTransactionResult,
} from '@holdfast/client';
import { withCluster } from '../cluster-call.ts';
import { printJson } from '../output.ts';
import { configEntryJson } from './config-reads.ts';
import { fileContent, type KeyOptions, standardInput } from './kv-options.ts';
import { transactionOfJson } from './transaction-json.ts';

/** `holdfast config txn`. */
export async function transact(file: string | undefined, options: KeyOptions): Promise<void> {
  const input = file === undefined || file === '-' ? await standardInput() : fileContent(file, file);
  const transaction = transactionOfJson(Buffer.from(input).toString(), options);
  const result = await withCluster(options, (client, signal) =>
    client.config.transaction(transaction, { signal }),
  );
  return printJson(transactionJson(transaction, result));
}

function transactionJson(
  transaction: ConfigTransaction,
  { succeeded, revision, results }: ConfigTransactionResult,
): Record<string, unknown> {
  const done = (succeeded ? transaction.then : transaction.else) ?? [];
  return {
    succeeded,
    revision: String(revision),
    results: done.map((operation, index) => resultJson(operation, results[index] ?? {})),
  };
}

/** What an operation did; what was there before only where it was asked for. */
function resultJson(operation: ConfigOperation, result: ConfigOperationResult): Record<string, unknown> {
  if ('get' in operation) return { entry: shown(result.entry) };
  if ('list' in operation) {
    const entries = result.list?.entries.map((entry) => configEntryJson(entry, operation.keysOnly)) ?? [];
    return { entries, more: result.list?.more ?? false };
  }
  if ('put' in operation) return operation.returnPrevious ? { previous: shown(result.previous) } : {};
  if ('transaction' in operation)
    return { transaction: transactionJson(operation.transaction, result.transaction!) };
  const { deleted, previous } = result.deleted!;
  const before = previous.map((entry) => configEntryJson(entry));
  return { deleted, ...(operation.returnPrevious && { previous: before }) };
}

function shown(entry: ConfigEntry | undefined): Record<string, unknown> | null {
  return entry === undefined ? null : configEntryJson(entry);
}
