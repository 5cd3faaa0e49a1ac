/** Transactions of the configuration as they come, checked before anything is proposed. */
import type { Comparison, Operation, Transaction } from '@holdfast/proto/config/v1/config';
import {
  isOneKey,
  type ComparisonTarget,
  type ConfigComparison,
  type ConfigOperation,
  type ConfigTransaction,
  type KeySpan,
} from '../coordination/config-command.ts';
import { MAX_TRANSACTION_DEPTH, MAX_TRANSACTION_OPERATIONS } from '../coordination/config-limits.ts';
import { refuse } from '../kv/limits.ts';
import { comparatorOf, deleteOperation, listOrder, putOperation } from './config-messages.ts';
import { selectedSpan } from './key-selection.ts';
import { safeInteger } from './kv-messages.ts';

const NOTHING = 'Nothing was done.';

/** Errors: BATCH_TOO_LARGE, TRANSACTION_TOO_DEEP, OPERATION_MISSING, COMPARISON_MISSING, DUPLICATE_KEY, and those of the operations. */
export function checkedTransaction(transaction: Transaction | undefined): ConfigTransaction {
  if (transaction === undefined)
    throw refuse('INVALID_FIELD', 'transaction', `there is no transaction. ${NOTHING}`);
  const reading = new TransactionReading();
  const read = reading.read(transaction, 'transaction.', 1);
  checkPath(read, 'transaction.');
  return read;
}

/** Whether it may add data. */
export function canGrow({ thenOperations, elseOperations }: ConfigTransaction): boolean {
  return [...thenOperations, ...elseOperations].some(
    (operation) =>
      operation.case === 'put' || (operation.case === 'transaction' && canGrow(operation.transaction)),
  );
}

class TransactionReading {
  #count = 0;

  read(transaction: Transaction, at: string, depth: number): ConfigTransaction {
    if (depth > MAX_TRANSACTION_DEPTH) {
      const message = `transactions within each other are ${depth} deep, limit ${MAX_TRANSACTION_DEPTH}. ${NOTHING}`;
      throw refuse('TRANSACTION_TOO_DEEP', at, message, String(depth), String(MAX_TRANSACTION_DEPTH));
    }
    const { comparisons, thenOperations, elseOperations } = transaction;
    this.#add(comparisons.length + thenOperations.length + elseOperations.length);
    const all = (operations: readonly Operation[], name: string) =>
      operations.map((operation, index) => this.#operation(operation, `${at}${name}[${index}].`, depth));
    return {
      comparisons: comparisons.map((one, index) => comparisonOf(one, `${at}comparisons[${index}].`)),
      thenOperations: all(thenOperations, 'then_operations'),
      elseOperations: all(elseOperations, 'else_operations'),
    };
  }

  #add(count: number): void {
    this.#count += count;
    if (this.#count <= MAX_TRANSACTION_OPERATIONS) return;
    const message = `the transaction has more than ${MAX_TRANSACTION_OPERATIONS} operations and comparisons. ${NOTHING} Do it in parts.`;
    throw refuse(
      'BATCH_TOO_LARGE',
      'transaction',
      message,
      String(this.#count),
      String(MAX_TRANSACTION_OPERATIONS),
    );
  }

  #operation({ operation }: Operation, at: string, depth: number): ConfigOperation {
    switch (operation.case) {
      case 'list':
        return { case: 'list', ...listOrder(operation.value, `${at}list.`) };
      case 'put':
        return putOperation(operation.value, `${at}put.`);
      case 'delete':
        return deleteOperation(operation.value, `${at}delete.`);
      case 'transaction':
        return {
          case: 'transaction',
          transaction: this.read(operation.value, `${at}transaction.`, depth + 1),
        };
      default:
        throw refuse('OPERATION_MISSING', at.slice(0, -1), `the operation says not what to do. ${NOTHING}`);
    }
  }
}

function comparisonOf({ selection, comparator, target }: Comparison, at: string): ConfigComparison {
  const span = selectedSpan(selection, `${at}selection`);
  return {
    span,
    isKey: isOneKey(span),
    comparator: comparatorOf(comparator, at),
    target: targetOf(target, at),
  };
}

function targetOf(target: Comparison['target'], at: string): ComparisonTarget {
  switch (target.case) {
    case 'value':
    case 'lease':
      return target;
    case 'version':
    case 'createRevision':
    case 'modRevision':
      return { case: target.case, value: safeInteger(target.value, `${at}${target.case}`) };
    default: {
      const message = `the comparison says not what to compare. ${NOTHING}`;
      throw refuse('COMPARISON_MISSING', at.slice(0, -1), message);
    }
  }
}

/** What a path through a transaction writes. */
interface Written {
  readonly puts: Set<string>;
  readonly deleted: KeySpan[];
}

/** Error: DUPLICATE_KEY, when some path writes one key twice. Returns what the paths write together. */
export function checkPath({ thenOperations, elseOperations }: ConfigTransaction, at: string): Written {
  const thenWrites = checkOperations(thenOperations, `${at}then_operations`);
  const elseWrites = checkOperations(elseOperations, `${at}else_operations`);
  for (const key of elseWrites.puts) thenWrites.puts.add(key);
  thenWrites.deleted.push(...elseWrites.deleted);
  return thenWrites;
}

function checkOperations(operations: readonly ConfigOperation[], at: string): Written {
  const written: Written = { puts: new Set(), deleted: [] };
  for (const [index, operation] of operations.entries()) {
    const { puts, deleted } = writesOf(operation, `${at}[${index}].`);
    const isTwice =
      [...puts].some((key) => written.puts.has(key) || written.deleted.some((span) => holds(span, key))) ||
      deleted.some((span) => [...written.puts].some((key) => holds(span, key)));
    if (isTwice) {
      const message = `this operation writes a key that one before it writes as well. ${NOTHING}`;
      throw refuse('DUPLICATE_KEY', `${at}[${index}]`, message);
    }
    for (const key of puts) written.puts.add(key);
    written.deleted.push(...deleted);
  }
  return written;
}

function writesOf(operation: ConfigOperation, at: string): Written {
  switch (operation.case) {
    case 'put':
      return { puts: new Set([operation.key]), deleted: [] };
    case 'delete':
      return { puts: new Set(), deleted: [operation.span] };
    case 'transaction':
      return checkPath(operation.transaction, `${at}transaction.`);
    case 'list':
      return { puts: new Set(), deleted: [] };
  }
}

function holds({ start, end }: KeySpan, key: string): boolean {
  return start <= key && (end === undefined || key < end);
}
