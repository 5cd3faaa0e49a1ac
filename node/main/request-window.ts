/** Keeps a bounded number of requests on their way. After the first that fails no more is sent. */
export class RequestWindow {
  readonly #size: number;
  readonly #underWay = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(size: number) {
    this.#size = size;
  }

  /** Sends when there is room. Error: that of an earlier request. */
  async add(send: () => Promise<void>): Promise<void> {
    while (this.#underWay.size >= this.#size) await Promise.race(this.#underWay);
    this.#throwFailure();
    const request: Promise<void> = send()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#underWay.delete(request));
    this.#underWay.add(request);
  }

  /** Resolves when all are answered. Error: that of the first that failed. */
  async drained(): Promise<void> {
    await Promise.all(this.#underWay);
    this.#throwFailure();
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
