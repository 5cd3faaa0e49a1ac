/**
 * Paths and queries of the plain resources. Keys are bytes and may hold anything, so the
 * raw text of the request is read here: `URL` would drop `..`, and decode as UTF-8.
 */
import { durationMs, type Duration } from '@holdfast/client/duration';
import { malformed } from './http-error.ts';

const FORM = /%[0-9a-fA-F]{2}/y;

/** Path and query of a request target, undecoded. An absolute target, as proxies send it, loses its host. */
export function splitTarget(target: string): { readonly path: string; readonly query: string } {
  const relative = target.startsWith('/') ? target : target.replace(/^[a-z]+:\/\/[^/?]*/i, '') || '/';
  const mark = relative.indexOf('?');
  return mark < 0
    ? { path: relative, query: '' }
    : { path: relative.slice(0, mark), query: relative.slice(mark + 1) };
}

/** Percent-encoded text as bytes; what is not encoded stands for itself. */
export function percentDecode(text: string, field: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  let length = 0;
  for (let position = 0; position < text.length; position++) {
    if (text[position] === '%') {
      FORM.lastIndex = position;
      if (!FORM.test(text))
        throw malformed(
          field,
          `${field} has a "%" that is not followed by two hexadecimal digits; write %25 for a percent sign.`,
        );
      bytes[length++] = parseInt(text.slice(position + 1, position + 3), 16);
      position += 2;
    } else {
      bytes[length++] = bytes[position]!;
    }
  }
  return bytes.subarray(0, length);
}

/** The parameters of a query. A name that the route does not know is refused: a misspelt option must not be ignored. */
export class Query {
  readonly #values = new Map<string, Buffer>();

  constructor(query: string, known: readonly string[]) {
    for (const part of query.split('&')) {
      if (part === '') continue;
      const mark = part.indexOf('=');
      const name = percentDecode(mark < 0 ? part : part.slice(0, mark), 'query').toString();
      if (!known.includes(name)) {
        const allowed = known.length === 0 ? 'none' : known.join(', ');
        throw malformed(
          name.slice(0, 80),
          `the query parameter ${JSON.stringify(name.slice(0, 80))} is not known here; there is: ${allowed}.`,
        );
      }
      if (this.#values.has(name)) throw malformed(name, `the query parameter ${name} stands twice.`);
      // As in forms, a plus sign is a space; %2B is a plus sign.
      this.#values.set(name, percentDecode(mark < 0 ? '' : part.slice(mark + 1).replaceAll('+', ' '), name));
    }
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  bytes(name: string): Buffer | undefined {
    return this.#values.get(name);
  }

  text(name: string): string | undefined {
    return this.#values.get(name)?.toString();
  }

  /** `true`, `1` or only the name; `false` or `0`. */
  flag(name: string): boolean {
    const text = this.text(name);
    if (text === undefined || text === 'false' || text === '0') return false;
    if (text === '' || text === 'true' || text === '1') return true;
    throw malformed(
      name,
      `${name} is ${JSON.stringify(text.slice(0, 80))}, allowed are true and false.`,
      text.slice(0, 80),
      'true, false',
    );
  }

  /** A whole number up to 2^32 - 1. */
  count(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
    if (value <= 0xffff_ffff) return value;
    throw malformed(
      name,
      `${name} is ${JSON.stringify(text.slice(0, 80))}, allowed are whole numbers up to 4294967295.`,
      text.slice(0, 80),
      '0..4294967295',
    );
  }

  /** Milliseconds of `500ms`, `30s`, `10m`, `1h`, `2d`. Whether the length is allowed is for the handler to say. */
  duration(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    try {
      return durationMs(text as Duration, name);
    } catch {
      throw malformed(
        name,
        `${name} is ${JSON.stringify(text.slice(0, 80))}, allowed is a number with a unit: 500ms, 30s, 10m, 1h, 2d.`,
        text.slice(0, 80),
      );
    }
  }
}
