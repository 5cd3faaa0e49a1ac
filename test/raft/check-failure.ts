/** A named check did not hold. */
export class CheckFailure extends Error {
  override readonly name = 'CheckFailure';
  readonly checker: string;

  constructor(checker: string, message: string) {
    super(`${checker}: ${message}`);
    this.checker = checker;
  }
}
