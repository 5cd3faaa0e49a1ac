/** Figures by the number of nodes as an SVG: nodes to the right, each twice as many as far. */

export interface Line {
  readonly name: string;
  readonly points: readonly (readonly [nodes: number, value: number])[];
}

const WIDTH = 560;
const HEIGHT = 260;
const [LEFT, RIGHT, TOP, BOTTOM] = [60, 150, 30, 40];
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#888888'];

export function growthPlot(title: string, unit: string, lines: readonly Line[]): string {
  const all = lines.flatMap(({ points }) => points);
  const [least, most] = [Math.min(...all.map(([n]) => n)), Math.max(...all.map(([n]) => n))];
  const greatest = Math.max(...all.map(([, value]) => value));
  const x = (n: number) =>
    (LEFT + (Math.log2(n / least) / Math.log2(most / least)) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const y = (value: number) => (HEIGHT - BOTTOM - (value / greatest) * (HEIGHT - TOP - BOTTOM)).toFixed(1);
  const ticks = [...new Set(all.map(([n]) => n))].map(
    (n) => `<text x="${x(n)}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${n}</text>`,
  );
  const levels = [0, greatest / 2, greatest].flatMap((value) => [
    `<path d="M${LEFT},${y(value)}H${WIDTH - RIGHT}" stroke="#ddd"/>`,
    `<text x="${LEFT - 6}" y="${Number(y(value)) + 4}" text-anchor="end">${rounded(value)}</text>`,
  ]);
  const drawn = lines.flatMap(({ name, points }, at) => {
    const colour = COLOURS[at % COLOURS.length]!;
    const [n, value] = points.at(-1)!;
    return [
      `<polyline points="${points.map((point) => `${x(point[0])},${y(point[1])}`).join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      `<text x="${Number(x(n)) + 6}" y="${Number(y(value)) + 4}" fill="${colour}">${name}</text>`,
    ];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="11">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    `<text x="${LEFT}" y="16" font-weight="bold">${title}</text>`,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 6}" text-anchor="middle">nodes; ${unit}</text>`,
    ...levels,
    ...ticks,
    ...drawn,
    '</svg>',
    '',
  ].join('\n');
}

function rounded(value: number): string {
  return value >= 100 ? String(Math.round(value)) : String(Math.round(value * 10) / 10);
}
