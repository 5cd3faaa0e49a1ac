/** Calls and returns in the order of time, of which pairs can be taken out and put back (Wing & Gong 1993). */

/** An operation of a history. Of two, one was first if it returned before the other was called. */
export interface Operation {
  readonly called: number;
  /** Undefined: its outcome is unknown; it may take effect at any time after its call, or never. */
  readonly returned: number | undefined;
}

/** A call, or a return, which has no match. */
export interface Event {
  readonly operation: number;
  readonly match: Event | undefined;
  previous: Event | undefined;
  next: Event | undefined;
}

export class CallList {
  readonly #head: Event = { operation: -1, match: undefined, previous: undefined, next: undefined };
  #size = 0;

  /** Of those operations that returned; they are known by their place. */
  constructor(operations: readonly Operation[]) {
    const events: { readonly time: number; readonly event: Event }[] = [];
    for (const [operation, { called, returned }] of operations.entries()) {
      if (returned === undefined) continue;
      if (returned < called)
        throw new RangeError(`an operation returned at ${returned}, called at ${called}`);
      const match = { operation, match: undefined, previous: undefined, next: undefined };
      events.push({ time: called, event: { ...match, match } }, { time: returned, event: match });
      this.#size++;
    }
    // At one time calls come first: then the two overlap, which is the weaker claim.
    events.sort((a, b) => a.time - b.time || Number(isReturn(a.event)) - Number(isReturn(b.event)));
    let last = this.#head;
    for (const { event } of events) {
      last.next = event;
      event.previous = last;
      last = event;
    }
  }

  /** Operations in it. */
  get size(): number {
    return this.#size;
  }

  get first(): Event | undefined {
    return this.#head.next;
  }

  /** The calls from one event on until something has returned: which may be next. */
  *candidates(from = this.first): Generator<Event> {
    for (let at = from; at !== undefined && !isReturn(at); at = at.next) yield at;
  }

  /** The operation that returns first. */
  get firstReturned(): number {
    let at = this.first!;
    while (!isReturn(at)) at = at.next!;
    return at.operation;
  }

  /** Takes an operation out. */
  lift(call: Event): void {
    unlink(call);
    unlink(call.match!);
    this.#size--;
  }

  /** Puts back the operation that was taken out last. */
  unlift(call: Event): void {
    relink(call.match!);
    relink(call);
    this.#size++;
  }
}

function isReturn(event: Event): boolean {
  return event.match === undefined;
}

/** It keeps its own ends, so that `relink` in the reverse order restores the list. */
function unlink({ previous, next }: Event): void {
  previous!.next = next;
  if (next !== undefined) next.previous = previous;
}

function relink(event: Event): void {
  event.previous!.next = event;
  if (event.next !== undefined) event.next.previous = event;
}
