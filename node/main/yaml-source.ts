import { type Document, isMap, isScalar, isSeq, LineCounter, parseDocument, type YAMLError } from 'yaml';

/** A place in a document: names of keys and numbers of items. */
export type YamlPath = readonly PropertyKey[];

/** A YAML text that knows on which line each of its values stands. */
export class YamlSource {
  /** The plain value; undefined when the text cannot be read as one. */
  readonly value: unknown;
  /** What is wrong with the text itself. */
  readonly errors: readonly { line: number; message: string }[];
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;

  constructor(text: string) {
    this.#document = parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      stringKeys: true,
    });
    const { errors, warnings } = this.#document;
    // A key that stands twice leaves the rest readable; after anything else it is guesswork.
    const readable = errors.every((error) => error.code === 'DUPLICATE_KEY');
    const found = [...errors, ...warnings].map((error) => this.#described(error));
    try {
      this.value = readable ? this.#document.toJS() : undefined;
    } catch (error) {
      found.push({ line: 1, message: (error as Error).message });
    }
    this.errors = found;
  }

  /** Line of the value at a path, or of the nearest value around it that exists. */
  lineOf(path: YamlPath): number {
    let node: unknown = this.#document.contents;
    let offset = startOf(node) ?? 0;
    for (const step of path) {
      const next = child(node, step);
      if (next === undefined) break;
      offset = next.offset ?? offset;
      node = next.value;
    }
    return this.#lines.linePos(offset).line || 1;
  }

  #described(error: YAMLError): { line: number; message: string } {
    return { line: this.#lines.linePos(error.pos[0]).line || 1, message: plainly(error) };
  }
}

function child(node: unknown, step: PropertyKey): { value: unknown; offset: number | undefined } | undefined {
  if (isMap(node)) {
    // The last one counts where a key stands twice, as in the plain value.
    const pair = node.items.findLast(({ key }) => isScalar(key) && String(key.value) === String(step));
    return pair === undefined ? undefined : { value: pair.value, offset: startOf(pair.key) };
  }
  if (!isSeq(node) || typeof step !== 'number' || step >= node.items.length) return undefined;
  return { value: node.items[step], offset: startOf(node.items[step]) };
}

function startOf(node: unknown): number | undefined {
  return (node as { range?: [number, number, number] | null } | null)?.range?.[0];
}

function plainly(error: YAMLError): string {
  if (error.code === 'DUPLICATE_KEY') return 'the same key stands twice; a key may be given once';
  if (error.code === 'TAB_AS_INDENT') return 'a tab; lines are indented with spaces';
  return `not valid YAML: ${error.message}`;
}
