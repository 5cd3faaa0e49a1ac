/** Writes to stdout and resolves when the reader has room for more. */
export function print(content: string | Uint8Array): Promise<void> {
  return write(process.stdout, content);
}

/** Writes a line to stderr and resolves when it is on its way. */
export function printError(line: string): Promise<void> {
  return write(process.stderr, `${line}\n`);
}

/** Prints a value as one line of JSON. */
export function printJson(value: unknown): Promise<void> {
  return print(`${JSON.stringify(value)}\n`);
}

/** Prints rows under headings, in columns. */
export function printTable(headings: readonly string[], rows: readonly (readonly string[])[]): Promise<void> {
  const all = [headings, ...rows];
  const widths = headings.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  const lines = all.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join('  '));
  return print(lines.map((line) => `${line.trimEnd()}\n`).join(''));
}

/** A reader that goes away early, as `head` does, is no error: there is nobody left to tell. */
export function endWhenReaderLeaves(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

/** A node goes on when nobody reads its output any more. */
export function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.removeAllListeners('error').on('error', () => undefined);
  }
}

function write(stream: NodeJS.WriteStream, content: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(content, (error) => (error ? reject(error) : resolve()));
  });
}
