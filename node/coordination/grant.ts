/** That a caller may do what it asks for, from the check until what it asks for is applied. */
export interface Grant {
  /** Of the permissions that say so, or say that nobody is asked. */
  readonly revision: number;
  /** Looks again, by the permissions as they are applied here. Error: it may not any more. */
  renew(): void;
}

/** Revision of permissions that nobody has ever changed. */
export const NO_PERMISSIONS = 1;
