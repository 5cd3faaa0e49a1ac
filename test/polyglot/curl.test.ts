/** Plain HTTP and Connect, with curl. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RealNode } from '../process/real-node.ts';
import { curl, describeWith, pathOf } from './installed-tools.ts';
import { output } from './run-program.ts';

let node: RealNode;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

async function request(path: string, ...options: string[]): Promise<Answer> {
  const text = await output(pathOf(curl), ['--silent', '--include', ...options, node.url + path]);
  const end = text.indexOf('\r\n\r\n');
  const [statusLine, ...lines] = text.slice(0, end).split('\r\n');
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  return { status: Number(statusLine!.split(' ')[1]), headers, body: text.slice(end + 4) };
}

function put(key: string, value: string, ...options: string[]): Promise<Answer> {
  return request(`/v1/kv/default/${key}`, '--request', 'PUT', '--data-binary', value, ...options);
}

function json(answer: Answer): unknown {
  return JSON.parse(answer.body);
}

describeWith([curl], 'curl', () => {
  beforeAll(async () => {
    node = await RealNode.start();
  });
  afterAll(() => node[Symbol.asyncDispose]());

  it('puts and gets, with the version as ETag', async () => {
    const written = await put('user/1', 'Ada');
    const { version } = json(written) as { version: string };
    expect(written).toMatchObject({ status: 200, headers: { etag: `"${version}"` } });
    expect(json(written)).toEqual({ key: 'user/1', version });
    const read = await request('/v1/kv/default/user%2F1');
    expect(read).toMatchObject({
      status: 200,
      headers: { etag: `"${version}"`, 'content-type': 'application/octet-stream', 'content-length': '3' },
      body: 'Ada',
    });
    const known = await request('/v1/kv/default/user/1', '--header', `If-None-Match: "${version}"`);
    expect(known).toMatchObject({ status: 304, body: '' });
  });

  it('puts a file of any bytes, and a time to live', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-curl-'));
    const file = join(directory, 'bytes');
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    writeFileSync(file, bytes);
    const path = `${node.url}/v1/kv/default/bytes`;
    await output(pathOf(curl), ['-sf', '-X', 'PUT', '--data-binary', `@${file}`, `${path}?ttl=1h`]);
    await output(pathOf(curl), ['-sf', '-o', `${file}.back`, path]);
    expect(readFileSync(`${file}.back`)).toEqual(bytes);
    rmSync(directory, { recursive: true });
    const head = await request('/v1/kv/default/bytes', '--head');
    expect(Date.parse(head.headers['holdfast-expires-at']!)).toBeGreaterThan(Date.now() + 3_500_000);
  });

  it('compares and sets with If-Match', async () => {
    const first = (await put('cas', 'one')).headers['etag']!;
    const second = await put('cas', 'two', '--header', `If-Match: ${first}`);
    expect(second.status).toBe(200);
    const stale = await put('cas', 'three', '--header', `If-Match: ${first}`);
    expect(stale.status).toBe(412);
    expect(json(stale)).toMatchObject({
      error: {
        reason: 'VERSION_MISMATCH',
        code: 'ABORTED',
        outcome: 'NOT_APPLIED',
        current_version: second.headers['etag']!.replaceAll('"', ''),
      },
    });
    expect((await request('/v1/kv/default/cas')).body).toBe('two');
  });

  it('creates only with If-None-Match: *', async () => {
    const only = ['--header', 'If-None-Match: *'];
    expect((await put('only', 'one', ...only)).status).toBe(201);
    const refused = await put('only', 'two', ...only);
    expect(refused.status).toBe(412);
    expect(json(refused)).toMatchObject({ error: { reason: 'KEY_EXISTS', outcome: 'NOT_APPLIED' } });
    expect((await request('/v1/kv/default/only')).body).toBe('one');
  });

  it('scans as JSON lines, and goes on where it was cut short', async () => {
    const { version } = json(await put('scan/1', 'a')) as { version: string };
    await put('scan/2', 'b');
    await put('scan/3', 'c');
    const all = await request('/v1/kv/default?prefix=scan/');
    expect(all.headers['content-type']).toBe('application/jsonl');
    const lines = all.body.trimEnd().split('\n');
    expect(lines).toHaveLength(3);
    expect(JSON.parse(lines[0]!)).toEqual({ key: 'scan/1', value: 'a', version });
    const two = (await request('/v1/kv/default?prefix=scan/&limit=2')).body.trimEnd().split('\n');
    const { continuation } = JSON.parse(two[2]!) as { continuation: string };
    const rest = await request(`/v1/kv/default?prefix=scan/&keys_only&continuation=${continuation}`);
    expect(rest.body).toMatch(/^\{"key":"scan\/3","version":"\d+"\}\n$/);
  });

  it('counts, and deletes', async () => {
    const sum = await request('/v1/kv/default/n?increment=5', '--request', 'POST');
    expect(json(sum)).toMatchObject({ key: 'n', value: '5' });
    const remove = () => request('/v1/kv/default/n', '--request', 'DELETE');
    expect(json(await remove())).toEqual({ key: 'n', existed: true });
    expect(json(await remove())).toEqual({ key: 'n', existed: false });
    const gone = await request('/v1/kv/default/n');
    expect(gone.status).toBe(404);
    expect(json(gone)).toMatchObject({ error: { reason: 'KEY_NOT_FOUND', code: 'NOT_FOUND' } });
  });

  it('calls a method with Connect and JSON', async () => {
    const call = (method: string, message: object) =>
      request(
        `/holdfast.kv.v1.KvService/${method}`,
        '--header',
        'Content-Type: application/json',
        '--data',
        JSON.stringify(message),
      );
    const key = Buffer.from('connect').toString('base64');
    const value = Buffer.from('yes').toString('base64');
    expect((await call('Put', { keyspace: 'default', key, value })).status).toBe(200);
    expect(json(await call('Get', { keyspace: 'default', key }))).toMatchObject({ entry: { key, value } });
    const refused = await call('Create', { keyspace: 'default', key, value });
    expect(refused.status).toBe(409);
    expect(json(refused)).toMatchObject({ code: 'already_exists' });
    expect(refused.body).toContain('KEY_EXISTS');
  });

  it('creates, lists and drops keyspaces, and sees the node', async () => {
    expect((await request('/v1/keyspaces/curl', '--request', 'PUT')).status).toBe(201);
    expect((await request('/v1/keyspaces')).body).toContain('"curl"');
    expect((await request('/v1/keyspaces/curl', '--request', 'DELETE')).status).toBe(200);
    expect(json(await request('/v1/status'))).toMatchObject({ nodes: [{ name: 'n1' }] });
    expect(await request('/livez')).toMatchObject({ status: 200, body: 'ok\n' });
    expect(await request('/readyz')).toMatchObject({ status: 200, body: 'ok\n' });
    expect((await request('/metrics')).body).toContain('holdfast_request_duration_seconds_count');
  });
});
