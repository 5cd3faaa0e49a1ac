/** Figures in the course of time, or of another `unit`, as an SVG: one panel a figure, time to the right. */

export interface Panel<T> {
  readonly title: string;
  readonly value: (sample: T) => number;
}

/** A moment that is worth a line in every panel. */
export interface Mark {
  readonly seconds: number;
  readonly text: string;
}

const WIDTH = 720;
const HEIGHT = 150;
const LEFT = 70;

export function plot<T extends { readonly seconds: number }>(
  panels: readonly Panel<T>[],
  samples: readonly T[],
  marks: readonly Mark[] = [],
  unit = 's',
): string {
  const end = samples.at(-1)?.seconds ?? 1;
  const x = (seconds: number) => (LEFT + (seconds / end) * (WIDTH - LEFT - 20)).toFixed(1);
  const drawn = panels.map(({ title, value }, position) => {
    const top = 20 + position * (HEIGHT + 40);
    const greatest = Math.max(1, ...samples.map(value));
    const y = (figure: number) => (top + HEIGHT - (figure / greatest) * HEIGHT).toFixed(1);
    const points = samples.map((sample) => `${x(sample.seconds)},${y(value(sample))}`).join(' ');
    const lines = marks.flatMap(({ seconds, text }) => [
      `<path d="M${x(seconds)},${top}V${top + HEIGHT}" stroke="#c40" stroke-dasharray="3"/>`,
      `<text x="${Number(x(seconds)) + 3}" y="${top + 10}" fill="#c40">${text}</text>`,
    ]);
    return [
      `<text x="${LEFT}" y="${top - 6}">${title}</text>`,
      `<path d="M${LEFT},${top}V${top + HEIGHT}H${WIDTH - 20}" fill="none" stroke="#999"/>`,
      `<text x="${LEFT - 6}" y="${top + 8}" text-anchor="end">${Math.round(greatest)}</text>`,
      `<text x="${LEFT - 6}" y="${top + HEIGHT}" text-anchor="end">0</text>`,
      `<text x="${WIDTH - 20}" y="${top + HEIGHT + 14}" text-anchor="end">${Math.round(end)} ${unit}</text>`,
      `<polyline points="${points}" fill="none" stroke="#07c"/>`,
      ...lines,
    ].join('\n');
  });
  const height = 20 + panels.length * (HEIGHT + 40);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="#fff"/>\n${drawn.join('\n')}\n</svg>\n`;
}
