/** Pages that name files, functions, reasons and metrics which must exist. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { REASONS, StatusCode, type Reason } from '../../client/reasons.ts';
import { RealNode } from '../process/real-node.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PAGES = ['README.md', ...globSync('node/docs/*.md', { cwd: ROOT })];

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** Rows of the tables of a part of a page, cell by cell, without the headings. */
function rows(text: string): string[][] {
  const lines = text.split('\n').filter((line) => line.startsWith('| `'));
  return lines.map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim().replaceAll('`', '')),
  );
}

/** The part of a page from one heading to the next of its kind. */
function section(page: string, heading: string): string {
  const start = page.indexOf(`${heading}\n`);
  expect(start, heading).toBeGreaterThanOrEqual(0);
  const rest = page.slice(start + heading.length);
  const end = rest.search(/^## /m);
  return end < 0 ? rest : rest.slice(0, end);
}

describe('design.md', () => {
  const page = read('node/docs/design.md');
  const named = [
    ...page.matchAll(/`([\w./-]+\.(?:ts|js|mjs|py|proto|yaml))`(?: \(((?:`[^`]+`(?:, )?)+)\))?/g),
  ];

  it('names files that exist, and in them what it says', () => {
    expect(named.length).toBeGreaterThan(40);
    const missing = named.flatMap(([, path, names]) => {
      if (!existsSync(join(ROOT, path!))) return [path!];
      const source = read(path!);
      const wanted = [...(names ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
      return wanted.filter((name) => !declares(source, name)).map((name) => `${path}: ${name}`);
    });
    expect(missing).toEqual([]);
  });

  it('names folders that exist', () => {
    const folders = [...page.matchAll(/^\| `([\w./-]+\/)` \|/gm)].map(([, path]) => path!);
    expect(folders.length).toBeGreaterThan(10);
    expect(folders.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  it('names members that the sources have', () => {
    const sources = globSync(['client/*.ts', 'node/*/**/*.ts', 'test/structure/*.ts'], { cwd: ROOT })
      .filter((path) => !/node_modules|dist/.test(path))
      .map(read);
    const members = [...page.matchAll(/`(#\w+|[a-z]+[A-Z]\w*)`/g)].map(([, name]) => name!);
    const missing = members.filter((name) => !sources.some((source) => declares(source, name)));
    expect(missing).toEqual([]);
  });
});

/** Whether a source declares a function, class, method, constant or test of this name. */
function declares(source: string, name: string): boolean {
  const forms = [
    String.raw`(?:function\*?|class|const|interface|type|let) ${name}\b`,
    String.raw`^ +(?:(?:static|async|get|private|readonly) )*\*?${name}(?:<[^(]*>)?\(`,
    String.raw`^def ${name}\b`,
  ];
  return forms.some((form) => new RegExp(form, 'm').test(source));
}

describe('links', () => {
  it.each(PAGES)('of %s lead somewhere', (page) => {
    const links = [...read(page).matchAll(/\]\(([^)]+)\)/g)].map(([, target]) => target!);
    const broken = links.filter((link) => {
      if (/^https?:/.test(link)) return false;
      const [path, anchor] = link.split('#');
      const target = path === '' ? page : join(dirname(page), path!);
      if (!existsSync(join(ROOT, target))) return true;
      return anchor !== undefined && !anchors(read(target)).includes(anchor);
    });
    expect(broken).toEqual([]);
  });
});

function anchors(page: string): string[] {
  const headings = [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading!.toLowerCase());
  return headings.map((heading) => heading.replaceAll(/[^\w -]/g, '').replaceAll(' ', '-'));
}

describe('errors.md', () => {
  const page = read('node/docs/errors.md');

  it('says of every reason its code and retry rule', () => {
    const told = rows(section(page, '# Errors')).map(([reason, code, retry]) => [reason, code, retry]);
    const names = new Map(Object.entries(StatusCode).map(([name, code]) => [code as number, name]));
    const known = (Object.keys(REASONS) as Reason[]).map((reason) => {
      const { code, retry } = REASONS[reason];
      return [reason, names.get(code), retry];
    });
    expect(told).toEqual(known);
  });

  it('has every reason that the HTTP port or the command line alone makes', () => {
    const told = ['## Made by the HTTP port alone', '## Made by the command line alone'].flatMap((heading) =>
      rows(section(page, heading)).map(([reason]) => reason!),
    );
    const sources = globSync('node/{transport,main}/**/*.ts', { cwd: ROOT }).map(read).join('\n');
    const made = [...sources.matchAll(/reason: '([A-Z_]+)'/g)].map(([, reason]) => reason!);
    const others = made.filter((reason) => !Object.hasOwn(REASONS, reason));
    expect(new Set(told)).toEqual(new Set(others));
  });
});

describe('operations.md', () => {
  it('lists the metrics that a node has', async () => {
    const told = rows(section(read('node/docs/operations.md'), '## Metrics')).map(([name]) => name!);
    await using node = await RealNode.start();
    const text = await (await fetch(`${node.url}/metrics`)).text();
    const served = [...text.matchAll(/^# TYPE (holdfast_\w+) /gm)].map(([, name]) => name!);
    expect(told.toSorted()).toEqual(served.toSorted());
  });
});

describe('http.md', () => {
  it('names every path that is served', () => {
    const page = read('node/docs/http.md');
    const routes = /export const ROUTES =([^;]+);/.exec(read('node/transport/plain-routes.ts'))![1]!;
    const paths = [...routes.matchAll(/\/(?:v1\/\w+|metrics|livez|readyz)/g)].map(([path]) => path);
    expect(paths.length).toBeGreaterThan(6);
    expect(paths.filter((path) => !page.includes(path))).toEqual([]);
  });
});
