/**
 * Loads modules with a defect in them. `load(specifier, defect)` imports a second instance
 * of a module and of everything of this repository that it imports, told from the sound
 * one by a query in their URLs; the source is changed on the way in, so that neither the
 * files nor the code itself know of it.
 */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import { applyDefect, type Defect } from './defect.ts';

type Change = Omit<Defect, 'caughtBy'>;

const ROOT = new URL('../../', import.meta.url).href;
const QUERY = '?defect=';
const loading = new Map<string, Change>();

registerHooks({
  resolve(specifier, context, next) {
    const resolved = next(specifier, context);
    const query = context.parentURL?.split(QUERY)[1];
    const isOurs = resolved.url.startsWith(ROOT) && !resolved.url.includes('/node_modules/');
    if (query === undefined || !isOurs || resolved.url.includes(QUERY)) return resolved;
    return { ...resolved, url: resolved.url + QUERY + query };
  },
  load(url, context, next) {
    const [sound, query] = url.split(QUERY);
    const defect = query === undefined ? undefined : loading.get(decodeURIComponent(query));
    if (defect === undefined || sound !== ROOT + defect.file) return next(url, context);
    const source = applyDefect(defect, readFileSync(fileURLToPath(sound), 'utf8'));
    return { format: 'module-typescript', source, shortCircuit: true };
  },
});

/** Imports a module of the repository, by its path from the root, with a defect in it. */
export function loadWith(defect: Change, path: string): Promise<unknown> {
  loading.set(defect.name, defect);
  return import(ROOT + path + QUERY + encodeURIComponent(defect.name));
}
