/** IDs and sequences of a real node by the command line and by plain HTTP. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RealNode } from '../process/real-node.ts';
import { runHoldfast } from './run-holdfast.ts';

let node: RealNode;
beforeAll(async () => {
  node = await RealNode.start();
});
afterAll(() => node[Symbol.asyncDispose]());

const run = (...args: string[]) => runHoldfast(args, { env: { HOLDFAST_ENDPOINTS: node.grpc } });

async function lines(...args: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await run(...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.toString().trimEnd().split('\n');
}

async function json(...args: string[]): Promise<Record<string, unknown>> {
  return JSON.parse((await lines(...args, '--json')).join('')) as Record<string, unknown>;
}

async function http(method: string, path: string) {
  const response = await fetch(`${node.url}${path}`, { method });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

describe('by the command line', () => {
  it('IDs are made and taken apart', async () => {
    const [one] = await lines('id', 'next');
    const { ids } = (await json('id', 'next', '--count', '5000')) as { ids: string[] };
    expect(ids.length).toBe(5_000);
    const numbers = [one!, ...ids].map(BigInt);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => (a < b ? -1 : 1)));
    const described = await json('id', 'describe', one!);
    expect(described).toMatchObject({ id: one, worker: 0 });
    expect(Math.abs(Date.parse(described['time'] as string) - Date.now())).toBeLessThan(60_000);
    expect((await lines('id', 'describe', one!))[0]).toMatch(/^TIME +WORKER +SEQUENCE$/);
  });

  it('sequences count, and are listed', async () => {
    expect(await lines('seq', 'next', 'cli')).toEqual(['1']);
    expect(await lines('seq', 'next', 'cli', '--count', '10')).toEqual(['2 to 11']);
    expect(await json('seq', 'next', 'cli')).toEqual({ sequence: 'cli', first: '12', count: 1 });
    expect((await json('seq', 'list'))['sequences']).toContainEqual({ name: 'cli', last: '12' });
    expect((await lines('seq', 'list'))[0]).toMatch(/^NAME +LAST$/);
  });

  it('what is refused ends with 1 and says why', async () => {
    for (const [reason, ...args] of [
      ['COUNT_OUT_OF_RANGE', 'id', 'next', '--count', '65537'],
      ['ID_INVALID', 'id', 'describe', '0'],
      ['SEQUENCE_NAME_INVALID', 'seq', 'next', 'A b'],
      ['COUNT_OUT_OF_RANGE', 'seq', 'next', 'a', '--count', '1000001'],
    ] as const) {
      const { code, stderr } = await run(...args, '--json');
      expect([code, JSON.parse(stderr)]).toMatchObject([1, { error: { reason } }]);
    }
  });
});

describe('by HTTP', () => {
  it('IDs are made and taken apart', async () => {
    const one = await http('POST', '/v1/ids');
    expect(one).toMatchObject({
      status: 200,
      body: { ids: [expect.stringMatching(/^\d{18,19}$/)], worker: 0 },
    });
    const many = await http('POST', '/v1/ids?count=65536');
    expect(new Set(many.body['ids'] as string[]).size).toBe(65_536);
    const [id] = one.body['ids'] as string[];
    expect(await http('GET', `/v1/ids/${id}`)).toMatchObject({
      status: 200,
      body: { id, worker: 0, time: expect.stringMatching(/^20.*Z$/) },
    });
  });

  it('sequences count, and are listed', async () => {
    expect(await http('POST', '/v1/sequences/web?count=7')).toEqual({
      status: 200,
      body: { sequence: 'web', first: '1', count: 7 },
    });
    expect((await http('POST', '/v1/sequences/web')).body).toMatchObject({ first: '8', count: 1 });
    const { body } = await http('GET', '/v1/sequences?limit=1&after=w');
    expect(body).toMatchObject({ sequences: [{ name: 'web', last: '8' }], more: false });
  });

  it.each([
    ['POST', '/v1/ids?count=0', 400, 'COUNT_OUT_OF_RANGE'],
    ['POST', '/v1/ids?count=65537', 400, 'COUNT_OUT_OF_RANGE'],
    ['POST', '/v1/ids?count=-1', 400, 'INVALID_FIELD'],
    ['POST', '/v1/ids?n=1', 400, 'INVALID_FIELD'],
    ['GET', '/v1/ids/0', 400, 'ID_INVALID'],
    ['GET', '/v1/ids/9223372036854775808', 400, 'ID_INVALID'],
    ['GET', '/v1/ids/abc', 400, 'ID_INVALID'],
    ['GET', '/v1/ids', 405, 'METHOD_NOT_ALLOWED'],
    ['POST', '/v1/sequences/A', 400, 'SEQUENCE_NAME_INVALID'],
    ['POST', '/v1/sequences/a?count=0', 400, 'COUNT_OUT_OF_RANGE'],
    ['POST', '/v1/sequences/a?count=1000001', 400, 'COUNT_OUT_OF_RANGE'],
    ['GET', '/v1/sequences?limit=1001', 400, 'COUNT_OUT_OF_RANGE'],
  ])('%s %s is %i %s', async (method, path, status, reason) => {
    expect(await http(method, path)).toMatchObject({ status, body: { error: { reason } } });
  });
});
