/** What becomes of a request to the core: it is in the log of the leader's term, or refused and without effect. */
export type RefusalReason =
  | 'not leader'
  /** The leader is handing over, or is about to. */
  | 'transferring'
  /** Too many bytes are not committed yet; later there may be room. */
  | 'full'
  /** The leader has committed nothing in its term yet. */
  | 'term not begun'
  /** Another change of members is not complete. */
  | 'change under way'
  /** The request makes no sense; `detail` says why. */
  | 'invalid';

export interface Refused {
  readonly refused: RefusalReason;
  readonly detail?: string;
}

/** The first of the entries that were added. They are lost if another term's entry is applied at their index. */
export interface Accepted {
  readonly refused?: undefined;
  readonly index: number;
  readonly term: number;
}

export type ProposalResult = Accepted | Refused;
