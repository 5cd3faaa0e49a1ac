/** What operations on the configuration need, nested ones too: what both surfaces ask for. */
import type { Call } from '@holdfast/proto/config/v1/config';
import type { KeyUse } from '../coordination/auth-permission.ts';
import { keySpan, type ConfigOperation, type ConfigTransaction } from '../coordination/config-command.ts';
import type { KeyNeed, LeaseNeed } from './access.ts';
import { deleteOperation, putOperation } from './config-messages.ts';
import { checkedTransaction } from './config-transaction-messages.ts';
import { configKey } from './key-selection.ts';

/** What whoever uses all that hangs on a lease needs. */
export type LeasedNeeds = (lease: bigint, use: KeyUse) => LeaseNeed;

type AnyNeed = KeyNeed | LeaseNeed;

/** Of one call of several. */
export function callNeeds({ call }: Call, leased: LeasedNeeds): readonly AnyNeed[] {
  switch (call.case) {
    case 'get':
      return [{ use: 'read', span: keySpan(configKey(call.value.key)) }];
    case 'put':
      return operationNeeds(putOperation(call.value), leased);
    case 'delete':
      return operationNeeds(deleteOperation(call.value), leased);
    case 'transact':
      return transactionNeeds(checkedTransaction(call.value.transaction), leased);
    default:
      return []; // it does nothing
  }
}

/** Both branches, whichever is taken: what is compared tells something too. */
export function transactionNeeds(
  { comparisons, thenOperations, elseOperations }: ConfigTransaction,
  leased: LeasedNeeds,
): AnyNeed[] {
  return [
    ...comparisons.map(({ span }): KeyNeed => ({ use: 'read', span })),
    ...[...thenOperations, ...elseOperations].flatMap((one) => operationNeeds(one, leased)),
  ];
}

/**
 * A condition on what is there, or what was there as an answer, is a read. Who puts a key on a
 * lease may write all keys that are on it, or it could not revoke what it has used.
 */
export function operationNeeds(operation: ConfigOperation, leased: LeasedNeeds): AnyNeed[] {
  switch (operation.case) {
    case 'list':
      return [{ use: 'read', span: operation.span }];
    case 'put': {
      const span = keySpan(operation.key);
      const needs: KeyNeed[] = [{ use: 'write', span }];
      if (tells(operation)) needs.push({ use: 'read', span });
      return operation.lease === 0n ? needs : [...needs, leased(operation.lease, 'write')];
    }
    case 'delete': {
      const { span } = operation;
      const needs: KeyNeed[] = [{ use: 'write', span }];
      return tells(operation) ? [...needs, { use: 'read', span }] : needs;
    }
    case 'transaction':
      return transactionNeeds(operation.transaction, leased);
  }
}

function tells(operation: { readonly returnPrevious: boolean; readonly ifModRevision: number | undefined }) {
  return operation.returnPrevious || operation.ifModRevision !== undefined;
}
