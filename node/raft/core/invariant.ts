/**
 * What the algorithm rules out has happened: the replica's data, or a peer, is not what
 * it claims to be. The replica must not go on.
 */
export class InvariantBroken extends Error {
  override readonly name = 'InvariantBroken';
}

/** Throws unless the condition holds. `describe` is called only then. */
export function mustHold(condition: boolean, describe: () => string): asserts condition {
  if (!condition) throw new InvariantBroken(describe());
}
