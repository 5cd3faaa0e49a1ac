/** An axis of `growth` as a Markdown table and as a plot. */
import type { Axis, Point } from './growth.ts';

/** Lines that share a scale, each with its colour. */
interface Panel {
  readonly title: string;
  readonly lines: Readonly<Record<string, (point: Point) => number>>;
}

const COLUMNS: Readonly<Record<string, (point: Point) => string>> = {
  'put op/s': (point) => grouped(point.put_ops_per_second),
  'p50, p99 ms': (point) => `${tenths(point.put_p50_ms)}, ${tenths(point.put_p99_ms)}`,
  'CPU µs': (point) => String(point.put_server_cpu_us),
  'get op/s': (point) => grouped(point.get_ops_per_second),
  'p50, p99 ms ': (point) => `${tenths(point.get_p50_ms)}, ${tenths(point.get_p99_ms)}`,
  'CPU µs ': (point) => String(point.get_server_cpu_us),
  'RSS MiB': (point) => grouped(point.rss_mib),
  'without mapped files': (point) => grouped(point.anonymous_mib),
  'start ms': (point) => grouped(point.start_ms),
  'recovery ms': (point) => grouped(point.recovery_ms),
  'entries replayed': (point) => grouped(point.replayed_entries),
  errors: (point) => String(point.errors),
};

const PANELS: readonly Panel[] = [
  {
    title: 'operations a second',
    lines: { put: (point) => point.put_ops_per_second, get: (point) => point.get_ops_per_second },
  },
  {
    title: 'latency, ms',
    lines: {
      'put p50': (point) => point.put_p50_ms,
      'get p50': (point) => point.get_p50_ms,
      'put p99': (point) => point.put_p99_ms,
      'get p99': (point) => point.get_p99_ms,
    },
  },
  {
    title: 'memory of a node, MiB',
    lines: { resident: (point) => point.rss_mib, 'without mapped files': (point) => point.anonymous_mib },
  },
  {
    title: 'after kill -9, ms',
    lines: { 'start to ready': (point) => point.start_ms, recovery: (point) => point.recovery_ms },
  },
];

const COLOURS = ['#07c', '#c40', '#7bd', '#e96'];
const WIDTH = 400;
const HEIGHT = 190;
const [LEFT, RIGHT, TOP, BOTTOM] = [60, 15, 40, 25];

export function growthTable(axis: Axis, points: readonly Point[]): string {
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const names = Object.keys(COLUMNS);
  return [
    row([axis, ...names.map((name) => name.trim())]),
    `|${'---|'.repeat(names.length + 1)}`,
    ...points.map((point) => row([label(axis, point), ...Object.values(COLUMNS).map((cell) => cell(point))])),
    '',
  ].join('\n');
}

/** Two panels beside each other; points lie evenly apart, whatever the numbers between them. */
export function growthPlot(axis: Axis, points: readonly Point[]): string {
  const labels = points.map((point) => label(axis, point));
  const drawn = PANELS.map((panel, at) => {
    const place = `${(at % 2) * WIDTH},${Math.floor(at / 2) * HEIGHT}`;
    return `<g transform="translate(${place})">\n${drawPanel(panel, axis, labels, points)}\n</g>`;
  });
  const [width, height] = [2 * WIDTH, (PANELS.length / 2) * HEIGHT];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="#fff"/>\n${drawn.join('\n')}\n</svg>\n`;
}

function drawPanel(
  { title, lines }: Panel,
  axis: Axis,
  labels: readonly string[],
  points: readonly Point[],
): string {
  const [width, bottom] = [WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM];
  const greatest = Math.max(1, ...Object.values(lines).flatMap((value) => points.map(value)));
  const x = (at: number) => (LEFT + ((at + 0.5) / points.length) * width).toFixed(1);
  const y = (figure: number) => (bottom - (figure / greatest) * (bottom - TOP)).toFixed(1);
  const drawn = Object.entries(lines).map(([name, value], at) => {
    const dots = points.map((point, position) => `${x(position)},${y(value(point))}`);
    const circles = dots.map((dot) => `<circle cx="${dot.replace(',', '" cy="')}" r="2.5"/>`);
    return [
      `<g fill="${COLOURS[at]}"><text x="${LEFT + (at / 4) * width}" y="30">${name}</text>${circles.join('')}`,
      `<polyline points="${dots.join(' ')}" fill="none" stroke="${COLOURS[at]}"/></g>`,
    ].join('');
  });
  return [
    `<text x="${LEFT}" y="15" font-weight="bold">${title}, by ${axis}</text>`,
    `<path d="M${LEFT},${TOP}V${bottom}H${WIDTH - RIGHT}" fill="none" stroke="#999"/>`,
    `<text x="${LEFT - 6}" y="${TOP + 8}" text-anchor="end">${grouped(Math.round(greatest))}</text>`,
    `<text x="${LEFT - 6}" y="${bottom}" text-anchor="end">0</text>`,
    ...labels.map((text, at) => `<text x="${x(at)}" y="${bottom + 14}" text-anchor="middle">${text}</text>`),
    ...drawn,
  ].join('\n');
}

function label(axis: Axis, point: Point): string {
  const isAllCopies = point.copies === point.nodes;
  return axis === 'nodes' && !isAllCopies ? `${point.nodes}, ${point.copies} copies` : grouped(point[axis]);
}

function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

function tenths(value: number): string {
  return value.toFixed(1);
}
