/**
 * Records what clients asked of a keyspace and what they were told. Times are numbers of
 * events, not of a clock: of two events of one process one is always first, and what
 * returned in the same millisecond as another was called still came before it.
 */

/** A request; the names are those of the node's mutations. */
export type KvRequest =
  | { readonly kind: 'get' }
  | { readonly kind: 'put' | 'create'; readonly value: string; readonly ttlMs?: number }
  | {
      readonly kind: 'setIfVersion';
      readonly expectedVersion: number;
      readonly value: string;
      readonly ttlMs?: number;
    }
  | {
      readonly kind: 'setIfValue';
      readonly expectedValue: string;
      readonly value: string;
      readonly ttlMs?: number;
    }
  | { readonly kind: 'increment'; readonly delta: bigint; readonly ttlMs?: number }
  | { readonly kind: 'delete' }
  | { readonly kind: 'deleteIfVersion'; readonly expectedVersion: number };

/** Reasons with which the state machine refuses a write because of what the key is. */
export const REFUSALS = [
  'KEY_EXISTS',
  'VERSION_MISMATCH',
  'VALUE_MISMATCH',
  'NOT_A_COUNTER',
  'COUNTER_OVERFLOW',
] as const;
export type KvRefusal = (typeof REFUSALS)[number];

/** What a client was told. What is absent it was not told. */
export type KvResult =
  | {
      readonly kind: 'read';
      readonly found: { readonly value: string; readonly version?: number } | undefined;
    }
  | {
      readonly kind: 'applied';
      readonly version?: number;
      readonly counter?: bigint;
      readonly existed?: boolean;
    }
  | {
      readonly kind: 'refused';
      readonly reason: KvRefusal;
      /** The version that the key has instead. */
      readonly current?: number | 'absent';
    };

/** `notApplied` says nothing of the key: the write was not tried, or refused for another cause. */
export type KvOutcome = KvResult | { readonly kind: 'notApplied' } | { readonly kind: 'unknown' };

export interface KvOperation {
  readonly client: string;
  readonly key: string;
  readonly request: KvRequest;
  /** Numbers of the events. An unknown outcome has no return, even if the client was told so. */
  readonly called: number;
  readonly returned: number | undefined;
  readonly outcome: KvOutcome;
}

/** What the history needs to see of a HoldfastError. */
export interface KvFailure {
  readonly reason: string;
  readonly outcome: 'NOT_APPLIED' | 'UNKNOWN' | undefined;
  readonly current?: { readonly version: bigint | number } | undefined;
}

/** An operation on its way. Exactly one of its methods is called, once, or none. */
export class KvCall {
  readonly #end: (outcome: KvOutcome) => void;

  constructor(end: (outcome: KvOutcome) => void) {
    this.#end = end;
  }

  /** Of a get; undefined: the key does not exist. */
  read(found: { readonly value: string; readonly version?: bigint | number } | undefined): void {
    if (found === undefined) this.#end({ kind: 'read', found });
    else this.#end({ kind: 'read', found: { value: found.value, ...toldVersion(found.version) } });
  }

  /** Of a write; what is undefined was not told. The version that a delete is answered with is none. */
  applied(result: {
    readonly version?: bigint | number | undefined;
    readonly counter?: bigint | undefined;
    readonly existed?: boolean | undefined;
  }): void {
    const { version, counter, existed } = result;
    this.#end({
      kind: 'applied',
      ...toldVersion(version),
      ...(counter !== undefined && { counter }),
      ...(existed !== undefined && { existed }),
    });
  }

  failed({ reason, outcome, current }: KvFailure): void {
    const refusal = REFUSALS.find((known) => known === reason);
    if (outcome !== 'NOT_APPLIED') this.unknown();
    else if (refusal === undefined) this.notApplied();
    else if (current !== undefined)
      this.#end({ kind: 'refused', reason: refusal, current: safe(current.version) });
    else if (refusal.endsWith('MISMATCH')) this.#end({ kind: 'refused', reason: refusal, current: 'absent' });
    else this.#end({ kind: 'refused', reason: refusal });
  }

  notApplied(): void {
    this.#end({ kind: 'notApplied' });
  }

  unknown(): void {
    this.#end({ kind: 'unknown' });
  }
}

export class KvHistory {
  readonly #operations: KvOperation[] = [];
  #events = 0;

  /** In the order of their calls. Those that have not ended are unknown. */
  get operations(): readonly KvOperation[] {
    return this.#operations;
  }

  begin(client: string, key: string, request: KvRequest): KvCall {
    const called = ++this.#events;
    const at = this.#operations.length;
    let ended = false;
    const open = { client, key, request, called, returned: undefined, outcome: { kind: 'unknown' } as const };
    this.#operations.push(open);
    return new KvCall((outcome) => {
      if (ended) throw new Error(`ended twice: ${shownOperation(open)}`);
      ended = true;
      const event = ++this.#events;
      this.#operations[at] = { ...open, outcome, returned: outcome.kind === 'unknown' ? undefined : event };
    });
  }
}

/** For messages. */
export function shownOperation({ client, key, request, called, returned, outcome }: KvOperation): string {
  const what = `${client} ${request.kind} ${JSON.stringify(key)}${shownArguments(request)}`;
  return `[${called}, ${returned ?? '…'}] ${what} → ${shownOutcome(outcome)}`;
}

function shownArguments(request: KvRequest): string {
  const parts: string[] = [];
  if ('expectedVersion' in request) parts.push(`if version ${request.expectedVersion}`);
  if ('expectedValue' in request) parts.push(`if ${JSON.stringify(request.expectedValue)}`);
  if ('value' in request) parts.push(JSON.stringify(request.value));
  if ('delta' in request) parts.push(`by ${request.delta}`);
  return parts.map((part) => ` ${part}`).join('');
}

function shownOutcome(outcome: KvOutcome): string {
  switch (outcome.kind) {
    case 'read':
      return shownValue(outcome.found?.value, outcome.found?.version);
    case 'refused':
      return `${outcome.reason}${outcome.current === undefined ? '' : `, current ${outcome.current}`}`;
    case 'applied': {
      const { version, counter, existed } = outcome;
      const parts = Object.entries({ version, counter, existed }).filter(([, part]) => part !== undefined);
      return parts.map(([name, part]) => `${name} ${part}`).join(', ') || 'applied';
    }
  }
  return outcome.kind;
}

export function shownValue(value: string | undefined, version: number | undefined): string {
  return value === undefined ? 'absent' : `${JSON.stringify(value)} of version ${version ?? '?'}`;
}

/** Versions of a delete's answer are 0: none. */
function toldVersion(version: bigint | number | undefined): { version?: number } {
  return version === undefined || Number(version) === 0 ? {} : { version: safe(version) };
}

function safe(version: bigint | number): number {
  const number = Number(version);
  if (!Number.isSafeInteger(number)) throw new RangeError(`version ${version} is not a safe integer`);
  return number;
}
