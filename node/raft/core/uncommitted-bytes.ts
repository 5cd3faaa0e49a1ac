/** Bytes that a leader took on and that are not committed yet: the bound on what a cut-off leader gathers. */
export class UncommittedBytes {
  readonly #max: number;
  #parts: { readonly lastIndex: number; readonly bytes: number }[] = [];
  #bytes = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Whether so many bytes more may be taken on. When there are none yet, any number may. */
  hasRoom(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#max;
  }

  add(lastIndex: number, bytes: number): void {
    this.#parts.push({ lastIndex, bytes });
    this.#bytes += bytes;
  }

  freeTo(index: number): void {
    let freed = 0;
    while (freed < this.#parts.length && this.#parts[freed]!.lastIndex <= index) {
      this.#bytes -= this.#parts[freed++]!.bytes;
    }
    if (freed > 0) this.#parts.splice(0, freed);
  }
}
