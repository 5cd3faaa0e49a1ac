/** The clock that all processes of a machine share. */

/** Microseconds of the machine's monotonic clock. */
export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}
