/** What every checker throws: one class for the whole suite, so that whoever judges looks at `checker` alone. */
export { CheckFailure as CheckFailed } from '../../raft/check-failure.ts';
